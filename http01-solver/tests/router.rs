//! The solver's responses, without a network or an API server. Next: `apiserver_solver.rs`.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header::HOST},
};
use crds::fixtures::challenge;
use http01_solver::{Metrics, Tokens, answer_health_checks, health_router, router};
use tokio::time::advance;
use tower::ServiceExt;

fn tokens() -> Tokens {
    let tokens = Tokens::default();
    tokens.replace_all([challenge("web", |_| {})]);
    tokens
}

/// Sends a request, and returns the status and body of the response.
async fn send(
    router: Router,
    method: Method,
    host: &str,
    path: &str,
) -> anyhow::Result<(StatusCode, String)> {
    let request = Request::builder().method(method).uri(path).header(HOST, host).body(Body::empty())?;
    let response = router.oneshot(request).await?;
    let status = response.status();
    Ok((status, String::from_utf8(to_bytes(response.into_body(), 1024).await?.to_vec())?))
}

#[tokio::test]
async fn tokens_return_only_the_key_authorization() -> anyhow::Result<()> {
    let path = "/.well-known/acme-challenge/a-token";
    let response = send(router(tokens()), Method::GET, "web.example.test", path).await?;
    assert_eq!(response, (StatusCode::OK, "a-token.a-thumbprint".to_owned()));
    let with_query =
        send(router(tokens()), Method::GET, "web.example.test:80", &format!("{path}?x=y")).await?;
    assert_eq!(with_query.1, "a-token.a-thumbprint");
    Ok(())
}

/// The response is identical for all other requests, and contains nothing from the request.
#[tokio::test]
async fn other_requests_return_the_same_404() -> anyhow::Result<()> {
    for (method, host, path) in [
        (Method::GET, "web.example.test", "/.well-known/acme-challenge/unknown"),
        (Method::GET, "other.example.test", "/.well-known/acme-challenge/a-token"),
        (Method::GET, "", "/.well-known/acme-challenge/a-token"),
        (Method::GET, "web.example.test", "/.well-known/acme-challenge/"),
        (Method::GET, "web.example.test", "/.well-known/acme-challenge/a-token/"),
        (Method::GET, "web.example.test", "/.well-known/acme-challenge/../acme-challenge/a-token"),
        (Method::GET, "web.example.test", "/.well-known/acme-challenge/a-token%00"),
        (Method::GET, "web.example.test", "/.well-known/acme-challenge/%3Cscript%3E"),
        (Method::GET, "web.example.test", "//.well-known/acme-challenge/a-token"),
        (Method::GET, "web.example.test", "/.WELL-KNOWN/acme-challenge/a-token"),
        (Method::GET, "web.example.test", "/"),
        (Method::GET, "web.example.test", "/livez"),
        (Method::POST, "web.example.test", "/.well-known/acme-challenge/a-token"),
        (Method::DELETE, "web.example.test", "/.well-known/acme-challenge/a-token"),
        (Method::OPTIONS, "web.example.test", "/"),
    ] {
        let response = send(router(tokens()), method.clone(), host, path).await?;
        assert_eq!(response, (StatusCode::NOT_FOUND, "not found\n".to_owned()), "{method} {host} {path}");
    }
    Ok(())
}

/// Load balancers of clouds take a backend out of service that doesn't answer these. They are not counted as challenges.
#[tokio::test]
async fn health_checks_of_load_balancers_are_answered() -> anyhow::Result<()> {
    let metrics = Metrics::default();
    let router = answer_health_checks(metrics.count_responses(router(tokens())));
    for (path, expected) in
        [("/", StatusCode::OK), ("/healthz", StatusCode::OK), ("/health", StatusCode::NOT_FOUND)]
    {
        let (status, _) = send(router.clone(), Method::GET, "10.0.0.1:8089", path).await?;
        assert_eq!(status, expected, "{path}");
    }
    let (_, text) = send(metrics.router(), Method::GET, "", "/metrics").await?;
    assert!(text.contains("acme_solver_requests_total{result=\"answered\"} 0"), "{text}");
    Ok(())
}

#[tokio::test]
async fn responses_are_counted_by_result() -> anyhow::Result<()> {
    let metrics = Metrics::default();
    let counted = metrics.count_responses(router(tokens()));
    for path in ["a-token", "another", "a-token"] {
        let path = format!("/.well-known/acme-challenge/{path}");
        send(counted.clone(), Method::GET, "web.example.test", &path).await?;
    }
    let (status, text) = send(metrics.router(), Method::GET, "", "/metrics").await?;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("\nacme_solver_requests_total{result=\"answered\"} 2\n"), "{text}");
    assert!(text.contains("\nacme_solver_requests_total{result=\"not_found\"} 1\n"), "{text}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn readyz_needs_a_list_and_an_api_server_that_responds() -> anyhow::Result<()> {
    let not_synced = Tokens::default();
    assert_eq!(send(health_router(not_synced.clone()), Method::GET, "", "/livez").await?.0, StatusCode::OK);
    assert_eq!(
        send(health_router(not_synced), Method::GET, "", "/readyz").await?.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let listed = tokens();
    assert_eq!(send(health_router(listed.clone()), Method::GET, "", "/readyz").await?.0, StatusCode::OK);
    advance(Duration::from_mins(2)).await;
    assert_eq!(
        send(health_router(listed.clone()), Method::GET, "", "/readyz").await?,
        (StatusCode::SERVICE_UNAVAILABLE, "the API server has not responded for 2 minutes".to_owned())
    );
    listed.note_response();
    assert_eq!(send(health_router(listed), Method::GET, "", "/readyz").await?.0, StatusCode::OK);
    Ok(())
}
