//! HTTP endpoints about the process itself. Knows nothing of certificates.

use axum::{Router, routing::get};

/// `GET /healthz` answers 200 as long as the process can answer at all.
pub fn router() -> Router {
    Router::new().route("/healthz", get(async || "ok"))
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, StatusCode},
    };
    use tower::ServiceExt;

    use super::router;

    #[tokio::test]
    async fn healthz_answers_and_nothing_else_does() -> anyhow::Result<()> {
        for (path, status) in [("/healthz", StatusCode::OK), ("/", StatusCode::NOT_FOUND)] {
            let answer = router().oneshot(Request::get(path).body(Body::empty())?).await?;
            assert_eq!(answer.status(), status, "{path}");
        }
        Ok(())
    }
}
