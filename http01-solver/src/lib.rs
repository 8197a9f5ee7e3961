//! Answers the HTTP-01 challenges (RFC 8555 section 8.3) of all Certificates in the cluster. So far only its frame:
//! the process, its logs and its health.

use axum::{Router, routing::get};

/// `GET /healthz` answers 200 as long as the process can answer at all; every other path 404.
pub fn router() -> Router {
    Router::new().route("/healthz", get(async || "ok"))
}
