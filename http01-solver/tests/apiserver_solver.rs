//! The solver against a real API server, its draining, and its limits. Must not need the operator. Next: `router.rs` for
//! responses without a network.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::http::{Request, StatusCode, header::HOST};
use crds::{acme::Challenge, fixtures, http01};
use e2e::harness::{self, with_namespace};
use http01_solver::{Metrics, Tokens, router, serve};
use kube::api::{DeleteParams, PostParams};
use testbed::http::{self, Network, Trust};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// A running solver on a port of its own.
struct TestServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

async fn start(tokens: Tokens) -> Result<TestServer> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, router(tokens), 64, Metrics::default(), async {
        _ = stopped.await;
    }));
    Ok(TestServer { address, stop, server })
}

/// Requests a token with a `Host` header, and returns the status and body of the response.
async fn get(address: SocketAddr, host: &str, token: &str) -> Result<(StatusCode, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let path = http01::path(token);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    timeout(Duration::from_secs(5), stream.read_to_string(&mut response)).await??;
    let (head, body) = response.split_once("\r\n\r\n").context("the response has no head")?;
    let status = head.split_whitespace().nth(1).context("the response has no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// Waits until the token "a-token" of a host is answered with a status, and returns how long that took.
async fn await_status(address: SocketAddr, host: &str, expected: StatusCode) -> Result<Duration> {
    let started = Instant::now();
    while get(address, host, "a-token").await?.0 != expected {
        ensure!(started.elapsed() < harness::TIMEOUT, "timed out waiting for status {expected} of {host}");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(started.elapsed())
}

#[tokio::test]
async fn challenges_are_answered_while_they_exist() -> Result<()> {
    with_namespace("solver", async |namespace| {
        harness::install_definitions(namespace.cluster()).await?;
        let challenges = namespace.api::<Challenge>();
        // One Challenge is created before the watch starts, and one after.
        let host = |name: &str| format!("{name}.{}.example.test", namespace.name());
        let of = |name: &str| fixtures::challenge(name, |it| it.spec.dns_name = host(name));
        challenges.create(&PostParams::default(), &of("before")).await?;
        let tokens = Tokens::default();
        let watch =
            tokio::spawn(http01_solver::watch(namespace.client().clone(), Vec::new(), tokens.clone()));
        let server = start(tokens.clone()).await?;
        await_status(server.address, &host("before"), StatusCode::OK).await?;
        ensure!(tokens.is_synced(), "a listed Challenge is answered before the table is synced");

        challenges.create(&PostParams::default(), &of("after")).await?;
        let time = await_status(server.address, &host("after"), StatusCode::OK).await?;
        println!("a new Challenge was answered after {time:?}");
        let response = get(server.address, &host("after"), "a-token").await?;
        ensure!(response == (StatusCode::OK, "a-token.a-thumbprint".to_owned()), "{response:?}");

        challenges.delete("after", &DeleteParams::default()).await?;
        await_status(server.address, &host("after"), StatusCode::NOT_FOUND).await?;
        let (status, _) = get(server.address, &host("before"), "a-token").await?;
        ensure!(status == StatusCode::OK, "the Challenge that still exists is answered with {status}");
        watch.abort();
        Ok(())
    })
    .await
}

#[tokio::test]
async fn draining_completes_open_requests_only() -> Result<()> {
    let tokens = Tokens::default();
    tokens.replace_all([fixtures::challenge("web", |_| {})]);
    let TestServer { address, stop, server } = start(tokens).await?;
    // A request that is incomplete when draining starts.
    let mut slow = TcpStream::connect(address).await?;
    slow.write_all(b"GET /.well-known/acme-challenge/a-token HTTP/1.1\r\nHost: web.example.test\r\n").await?;
    sleep(Duration::from_millis(100)).await;
    stop.send(()).ok().context("the server stopped early")?;
    let connections_refused = async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), connections_refused)
        .await
        .context("new connections are still accepted")?;
    slow.write_all(b"Connection: close\r\n\r\n").await?;
    let mut response = String::new();
    timeout(Duration::from_secs(5), slow.read_to_string(&mut response)).await??;
    ensure!(response.ends_with("a-token.a-thumbprint"), "{response:?}");
    timeout(Duration::from_secs(5), server).await.context("the server did not stop")??;
    Ok(())
}

#[tokio::test]
async fn incomplete_and_oversized_requests_are_closed() -> Result<()> {
    let server = start(Tokens::default()).await?;
    let mut idle = TcpStream::connect(server.address).await?;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: ").await?;
    let started = Instant::now();
    let mut response = Vec::new();
    timeout(Duration::from_secs(20), idle.read_to_end(&mut response))
        .await
        .context("an idle connection stays open")??;
    let time = started.elapsed();
    ensure!(time < Duration::from_secs(10), "an idle connection was closed only after {time:?}");

    let mut large = TcpStream::connect(server.address).await?;
    large.write_all(format!("GET /{} HTTP/1.1\r\n", "a".repeat(100_000)).as_bytes()).await.ok();
    let mut response = Vec::new();
    timeout(Duration::from_secs(5), large.read_to_end(&mut response))
        .await
        .context("an oversized request is not rejected")?
        .ok();
    ensure!(!response.starts_with(b"HTTP/1.1 200"), "an oversized request is answered");
    let alive =
        Request::get(format!("http://{}/", server.address)).header(HOST, "x").body(bytes::Bytes::new())?;
    let response = http::request(&Network::Host, alive, &Trust::Nothing).await?;
    let status = response.status();
    ensure!(status == StatusCode::NOT_FOUND, "after that, the server responds with {status}");
    Ok(())
}
