//! What the solver answers, without a port.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode, header::HOST},
};
use crds::fixtures::challenge;
use http01_solver::{Tokens, health_router, router};
use tower::ServiceExt;

fn tokens() -> Tokens {
    let tokens = Tokens::default();
    tokens.replace_all([challenge("web", |_| {})]);
    tokens
}

/// Status and body of an answer.
async fn send(
    router: Router,
    method: Method,
    host: &str,
    path: &str,
) -> anyhow::Result<(StatusCode, String)> {
    let request = Request::builder().method(method).uri(path).header(HOST, host).body(Body::empty())?;
    let answer = router.oneshot(request).await?;
    let status = answer.status();
    Ok((status, String::from_utf8(to_bytes(answer.into_body(), 1024).await?.to_vec())?))
}

#[tokio::test]
async fn the_token_of_a_challenge_is_answered_with_its_key_authorization_and_nothing_more()
-> anyhow::Result<()> {
    let path = "/.well-known/acme-challenge/a-token";
    let answer = send(router(tokens()), Method::GET, "web.example.test", path).await?;
    assert_eq!(answer, (StatusCode::OK, "a-token.a-thumbprint".to_owned()));
    let query = send(router(tokens()), Method::GET, "web.example.test:80", &format!("{path}?x=y")).await?;
    assert_eq!(query.1, "a-token.a-thumbprint");
    Ok(())
}

/// Whatever is asked for that is not there, the answer is the same to the byte, and has nothing of the question.
#[tokio::test]
async fn everything_else_is_the_same_not_found() -> anyhow::Result<()> {
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
        let answer = send(router(tokens()), method.clone(), host, path).await?;
        assert_eq!(answer, (StatusCode::NOT_FOUND, "not found\n".to_owned()), "{method} {host} {path}");
    }
    Ok(())
}

#[tokio::test]
async fn it_is_ready_once_all_challenges_are_known() -> anyhow::Result<()> {
    let unknown = Tokens::default();
    assert_eq!(send(health_router(unknown.clone()), Method::GET, "", "/livez").await?.0, StatusCode::OK);
    assert_eq!(
        send(health_router(unknown), Method::GET, "", "/readyz").await?.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(send(health_router(tokens()), Method::GET, "", "/readyz").await?.0, StatusCode::OK);
    Ok(())
}
