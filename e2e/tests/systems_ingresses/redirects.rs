//! Requests that are redirected to HTTPS: by an annotation of the application's Ingress, or all of them, challenges included.
//! Next: `nginx.rs` for the annotations of ingress-nginx.

use anyhow::{Result, ensure};
use e2e::{matrix::Times, scenarios, user::issuer_annotation};
use serde_json::Value;
use tokio::time::Instant;

use crate::served::{ISSUER, Served, status_of};

/// Traefik redirects everything, so the self-check and the CA follow to HTTPS.
pub(crate) async fn all_requests_are_redirected(served: &Served<'_>) -> Result<Times> {
    let redirection = "--entrypoints.web.http.redirections.entrypoint.to=websecure";
    served.add_argument("traefik", "traefik", redirection).await?;
    is_issued_beside_a_redirect(served, "redirected", issuer_annotation(ISSUER)).await
}

/// Contour redirects the application, and not the challenge.
pub(crate) async fn application_of_contour_is_redirected(served: &Served<'_>) -> Result<Times> {
    let mut annotations = issuer_annotation(ISSUER);
    annotations["ingress.kubernetes.io/force-ssl-redirect"] = "true".into();
    is_issued_beside_a_redirect(served, "redirected", annotations).await
}

async fn is_issued_beside_a_redirect(served: &Served<'_>, name: &str, annotations: Value) -> Result<Times> {
    let began = Instant::now();
    served.apply(name, annotations).await?;
    let times = scenarios::all_are_served(&served.user, &[name.to_owned()], &served.root, began).await?;
    let url = format!("http://{}/hostname", served.user.host(name));
    let status = status_of(&served.user, &url, &served.root).await;
    ensure!(matches!(status, Some(301 | 308)), "the application answers {status:?}, and does not redirect");
    Ok(times)
}
