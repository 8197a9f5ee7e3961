//! What the solver answers, without a port.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use tower::ServiceExt;

#[tokio::test]
async fn a_token_that_no_challenge_has_is_not_found() -> anyhow::Result<()> {
    for (path, status) in [
        ("/healthz", StatusCode::OK),
        ("/.well-known/acme-challenge/unknown", StatusCode::NOT_FOUND),
        ("/", StatusCode::NOT_FOUND),
    ] {
        let answer = http01_solver::router().oneshot(Request::get(path).body(Body::empty())?).await?;
        assert_eq!(answer.status(), status, "{path}");
    }
    Ok(())
}
