//! A page in a cluster: a Pod that serves it through Traefik, and a client that waits for it.
//! Knows nothing about certificates except whether one is trusted. Next: `manifests/page.yaml`.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use hyper::StatusCode;
use tokio::time::sleep;

use crate::{
    cluster::Cluster,
    http::{self, Trust},
};

/// The test image of Kubernetes, which is on every node. It serves pages, and connects to servers on request.
pub const AGNHOST_IMAGE: &str = "localhost/agnhost:testbed";

/// The time between two requests for a page.
const POLL: Duration = Duration::from_millis(50);

/// Applies a Pod that serves a page under `host` through Traefik, with its Service and Ingress, all called `name`.
pub async fn serve_page(cluster: &Cluster, namespace: &str, name: &str, host: &str) -> Result<()> {
    let page = include_str!("../manifests/page.yaml")
        .replace("$NAME", name)
        .replace("$HOST", host)
        .replace("$CLASS", cluster.ingress_class())
        .replace("$IMAGE", AGNHOST_IMAGE);
    cluster.apply_in(Some(namespace), &page).await
}

/// Waits until a page is served inside a cluster with status 200, and returns it. Over HTTPS, `trust` must also accept
/// the server's certificate.
pub async fn await_page(cluster: &Cluster, url: &str, trust: &Trust, limit: Duration) -> Result<String> {
    let deadline = Instant::now() + limit;
    loop {
        let last = match http::get(&cluster.network(), url, trust).await {
            Ok(answer) if answer.status() == StatusCode::OK => {
                return Ok(String::from_utf8_lossy(answer.body()).into_owned());
            }
            Ok(answer) => answer.status().to_string(),
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > deadline {
            bail!("waited {} s for {url}; the last answer was: {last}", limit.as_secs());
        }
        sleep(POLL).await;
    }
}
