//! Answers the HTTP-01 challenges (RFC 8555 section 8.3) of all Certificates in the cluster: one always-on server in place
//! of a Pod for each challenge.
//!
//! ```text
//! API server ──Challenges──▶ watch ──▶ Tokens ◀── router ◀── ingress controller ◀── the CA
//! ```
//!
//! It answers for exactly the hosts and tokens that Challenges name. It holds no Secret, writes nothing, and tells who asks
//! for anything else nothing but that it is not there. Next: `tokens.rs`.

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

pub use self::{serve::serve, tokens::Tokens, watch::watch};

/// What the CA sees: `GET /.well-known/acme-challenge/<token>`. Everything else is one and the same 404.
pub fn router(tokens: Tokens) -> Router {
    Router::new()
        .route(&http01::path("{token}"), get(answer))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .with_state(tokens)
}

/// What Kubernetes sees, on a port of its own: `/livez`, and `/readyz`, which is 200 once all Challenges are known.
pub fn health_router(tokens: Tokens) -> Router {
    let ready = async |State(tokens): State<Tokens>| {
        if tokens.is_synced() {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the Challenges are not known yet")
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
