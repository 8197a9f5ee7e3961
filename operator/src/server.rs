//! HTTP endpoints of the process: `/livez`, `/healthz`, and `/readyz` on one port, `/metrics` on another. Must not use
//! the API server. Next: `metrics/mod.rs`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    routing::get,
};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, time::sleep};

use crate::{k8s::Contact, metrics::Scrapes};

/// How many connections each port has open at a time.
pub const MAX_CONNECTIONS: usize = 32;

/// For how long the API server may be unreachable before `/livez` fails. A leader or a standby reads the Lease every 2 s; without
/// leader election, each watch is renewed after 290 s at the latest.
pub const LONGEST_SILENCE: Duration = Duration::from_mins(5);

/// Whether the process is ready: a leader once its caches are synced, a standby immediately.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets what `/readyz` reports.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }
}

/// Returns the router of `/livez`, which responds with 503 when the API server has not been reached for five minutes, of `/healthz`,
/// which always responds with 200, and of `/readyz`, which responds with 503 until the process is ready.
pub fn health_router(readiness: Readiness, contact: Contact) -> Router {
    let live = async move || {
        let silence = contact.lost_for();
        if silence < LONGEST_SILENCE {
            (StatusCode::OK, "ok".to_owned())
        } else {
            let problem = format!("the API server has not been reached for {} s", silence.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, problem)
        }
    };
    let ready = async |State(Readiness(ready)): State<Readiness>| {
        if ready.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the caches are not synced yet")
        }
    };
    Router::new()
        .route("/livez", get(live))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .with_state(readiness)
}

/// Returns the router of `/metrics`, in the Prometheus text format.
pub fn metrics_router(scrapes: Arc<Scrapes>) -> Router {
    let text = async |State(scrapes): State<Arc<Scrapes>>| {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], Body::from_stream(scrapes.text()))
    };
    Router::new().route("/metrics", get(text)).with_state(scrapes)
}

/// Serves a router in the background until the process ends, with the limits of http01-solver against slow clients. Port 0 turns
/// it off.
///
/// # Errors
/// The address can't be listened on.
pub async fn serve(address: SocketAddr, router: Router) -> anyhow::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    tokio::spawn(http01_solver::serve(
        listener,
        router,
        MAX_CONNECTIONS,
        http01_solver::Metrics::default(),
        std::future::pending(),
    ));
    Ok(())
}

/// Polls several URLs, as [`check_ready`] does, one after the other.
///
/// # Errors
/// As [`check_ready`].
pub async fn check_all_ready(checks: &[String]) -> anyhow::Result<()> {
    for check in checks {
        check_ready(check).await?;
    }
    Ok(())
}

/// Polls `host:port/path=status` once per second until it returns that status, for up to 30 s, the time of a rollout.
///
/// # Errors
/// The argument is malformed, or the URL did not return the status in time.
pub async fn check_ready(check: &str) -> anyhow::Result<()> {
    const MAX_TRIES: usize = 30;
    let (address, status) = check
        .rsplit_once('=')
        .with_context(|| format!("failed to parse {check:?}: expected host:port/path=status"))?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let url: Uri = format!("http://{address}").parse()?;
    let mut last = String::new();
    for _ in 0..MAX_TRIES {
        last = match client.get(url.clone()).await {
            Ok(response) if response.status().as_str() == status => return Ok(()),
            Ok(response) => response.status().to_string(),
            Err(error) => error.to_string(),
        };
        sleep(Duration::from_secs(1)).await;
    }
    bail!("failed to get status {status} from {url}: the last result was {last}")
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn readyz_follows_readiness() -> anyhow::Result<()> {
        let readiness = Readiness::default();
        let status = async |path: &str| -> anyhow::Result<StatusCode> {
            let request = Request::get(path).body(Body::empty())?;
            Ok(health_router(readiness.clone(), Contact::default()).oneshot(request).await?.status())
        };
        assert_eq!(status("/livez").await?, StatusCode::OK);
        assert_eq!(status("/readyz").await?, StatusCode::SERVICE_UNAVAILABLE);
        readiness.set(true);
        assert_eq!(status("/readyz").await?, StatusCode::OK);
        assert_eq!(status("/").await?, StatusCode::NOT_FOUND);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn livez_fails_without_contact() -> anyhow::Result<()> {
        let contact = Contact::default();
        let status = async || -> anyhow::Result<StatusCode> {
            let request = Request::get("/livez").body(Body::empty())?;
            Ok(health_router(Readiness::default(), contact.clone()).oneshot(request).await?.status())
        };
        sleep(Duration::from_secs(299)).await;
        assert_eq!(status().await?, StatusCode::OK);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(status().await?, StatusCode::SERVICE_UNAVAILABLE);
        contact.note();
        assert_eq!(status().await?, StatusCode::OK);
        Ok(())
    }

    #[tokio::test]
    async fn metrics_have_the_names_of_cert_manager() -> anyhow::Result<()> {
        let metrics = Metrics::default();
        metrics.record_reconcile("orders", true);
        let router = metrics_router(Scrapes::new(metrics, Arc::default(), true));
        let response = router.oneshot(Request::get("/metrics").body(Body::empty())?).await?;
        let text = String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?;
        assert!(text.contains(r#"certmanager_controller_sync_error_count{controller="orders"} 1"#), "{text}");
        Ok(())
    }
}
