//! HTTP endpoints about the process itself: `/livez` and `/readyz` on one port, `/metrics` on another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    routing::get,
};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::sleep;

use crate::{context::Stores, metrics::Metrics};

/// Whether the process can do its part: as a leader, once everything is known; as the next one, at once.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }
}

/// `/livez` and `/healthz` answer 200 as long as the process can answer at all, `/readyz` once it can do its part.
pub fn health_router(readiness: Readiness) -> Router {
    let ready = async |State(Readiness(ready)): State<Readiness>| {
        if ready.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the cluster's objects are not known yet")
        }
    };
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

/// `/metrics`, in Prometheus' text format.
pub fn metrics_router(metrics: Metrics, stores: Stores) -> Router {
    let render = async |State((metrics, stores)): State<(Metrics, Stores)>| {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render(&stores))
    };
    Router::new().route("/metrics", get(render)).with_state((metrics, stores))
}

/// Asks `host:port/path=status` until it answers with that status, for as long as a rollout may take.
///
/// # Errors
/// It answers otherwise, or not at all.
pub async fn check_ready(wanted: &str) -> anyhow::Result<()> {
    const TRIES: usize = 30;
    let (address, status) = wanted.rsplit_once('=').context("write host:port/path=status")?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let url: Uri = format!("http://{address}").parse()?;
    let mut last = String::new();
    for _ in 0..TRIES {
        last = match client.get(url.clone()).await {
            Ok(answer) if answer.status().as_str() == status => return Ok(()),
            Ok(answer) => answer.status().to_string(),
            Err(error) => error.to_string(),
        };
        sleep(Duration::from_secs(1)).await;
    }
    bail!("{url} does not answer with {status}: {last}")
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::controllers::Watches;

    #[tokio::test]
    async fn it_lives_at_once_and_is_ready_when_it_says_so() -> anyhow::Result<()> {
        let readiness = Readiness::default();
        let status = async |path: &str| -> anyhow::Result<StatusCode> {
            let request = Request::get(path).body(Body::empty())?;
            Ok(health_router(readiness.clone()).oneshot(request).await?.status())
        };
        assert_eq!(status("/livez").await?, StatusCode::OK);
        assert_eq!(status("/readyz").await?, StatusCode::SERVICE_UNAVAILABLE);
        readiness.set(true);
        assert_eq!(status("/readyz").await?, StatusCode::OK);
        assert_eq!(status("/").await?, StatusCode::NOT_FOUND);
        Ok(())
    }

    #[tokio::test]
    async fn figures_have_the_names_that_dashboards_know() -> anyhow::Result<()> {
        let metrics = Metrics::default();
        metrics.record_reconcile("orders", true);
        let router = metrics_router(metrics, Watches::default().stores);
        let answer = router.oneshot(Request::get("/metrics").body(Body::empty())?).await?;
        let text = String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?;
        assert!(text.contains(r#"certmanager_controller_sync_error_count{controller="orders"} 1"#), "{text}");
        Ok(())
    }
}
