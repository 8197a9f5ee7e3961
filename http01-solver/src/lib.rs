//! Answers the HTTP-01 challenges (RFC 8555 section 8.3) of all Certificates in the cluster: one permanent server instead
//! of a Pod per challenge.
//!
//! ```text
//! API server ──Challenges──▶ watch ──▶ Tokens ◀── router ◀── ingress controller ◀── the CA
//! ```
//!
//! It answers requests for exactly the hosts and tokens of Challenges. Requests for `/` and `/healthz` get an empty response, because
//! load balancers of clouds check these. Every other request gets the same 404 response, which contains nothing from the request. It has no access to Secrets and writes nothing. Next: `tokens.rs`.

mod metrics;
mod serve;
mod tokens;
mod watch;

use axum::{
    Router,
    extract::{Path, State},
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, HOST},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use crds::http01;

pub use self::{
    metrics::Metrics,
    serve::serve,
    tokens::Tokens,
    watch::{client, watch},
};

/// How many connections for challenges are open at a time: with what else is open, fewer than the 1024 files that a process usually
/// may open.
pub const MAX_CONNECTIONS: usize = 960;

/// Returns the router for CAs: it answers `GET /.well-known/acme-challenge/<token>`, and everything else with the same 404
/// response.
pub fn router(tokens: Tokens) -> Router {
    Router::new()
        .route(&http01::path("{token}"), get(answer))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .with_state(tokens)
}

/// Lets a router answer what load balancers of clouds request to find out whether a backend works.
pub fn answer_health_checks(router: Router) -> Router {
    let healthy = async || ([(CACHE_CONTROL, "no-store")], "");
    router.route("/", get(healthy)).route("/healthz", get(healthy))
}

/// Returns the router for Kubernetes probes, which are served on another port: `/livez` is always 200, `/readyz` once all
/// existing Challenges have been listed, for as long as the API server responds.
pub fn health_router(tokens: Tokens) -> Router {
    let ready = async |State(tokens): State<Tokens>| {
        if !tokens.is_synced() {
            (StatusCode::SERVICE_UNAVAILABLE, "Challenges have not been listed yet")
        } else if !tokens.is_current() {
            (StatusCode::SERVICE_UNAVAILABLE, "the API server has not responded for 2 minutes")
        } else {
            (StatusCode::OK, "ok")
        }
    };
    Router::new().route("/livez", get(async || "ok")).route("/readyz", get(ready)).with_state(tokens)
}

async fn answer(State(tokens): State<Tokens>, Path(token): Path<String>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match tokens.answer(host, &token) {
        Some(key_authorization) => {
            let headers = [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, "no-store")];
            (headers, key_authorization).into_response()
        }
        None => not_found().await,
    }
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, [(CACHE_CONTROL, "no-store")], "not found\n").into_response()
}
