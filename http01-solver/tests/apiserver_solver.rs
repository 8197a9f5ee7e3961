//! The solver follows a real API server, and drains as it should.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::http::{Request, StatusCode, header::HOST};
use crds::{acme::Challenge, fixtures};
use e2e::harness::{self, with_namespace};
use http01_solver::{Tokens, router, serve};
use kube::api::{DeleteParams, PostParams};
use testbed::http::{self, Network, Trust};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// A server of tokens on a port of its own.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

async fn start(tokens: Tokens) -> Result<Running> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, router(tokens), async {
        _ = stopped.await;
    }));
    Ok(Running { address, stop, server })
}

/// Asks for a token under a host.
async fn ask(address: SocketAddr, host: &str, token: &str) -> Result<(StatusCode, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let path = format!("/.well-known/acme-challenge/{token}");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split_whitespace().nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

async fn until(address: SocketAddr, host: &str, wanted: StatusCode) -> Result<Duration> {
    let began = Instant::now();
    while ask(address, host, "a-token").await?.0 != wanted {
        ensure!(began.elapsed() < harness::TIMEOUT, "{host} is not answered with {wanted}");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(began.elapsed())
}

#[tokio::test]
async fn a_challenge_is_answered_from_when_it_exists_until_it_is_gone() -> Result<()> {
    with_namespace("solver", async |namespace| {
        harness::install_definitions(namespace.cluster()).await?;
        let challenges = namespace.api::<Challenge>();
        // One is there before, one comes while it is watched.
        let host = |name: &str| format!("{name}.{}.example.test", namespace.name());
        let of = |name: &str| fixtures::challenge(name, |it| it.spec.dns_name = host(name));
        challenges.create(&PostParams::default(), &of("before")).await?;
        let tokens = Tokens::default();
        let watch = tokio::spawn(http01_solver::watch(namespace.client().clone(), tokens.clone()));
        let running = start(tokens.clone()).await?;
        until(running.address, &host("before"), StatusCode::OK).await?;
        ensure!(tokens.is_complete());

        challenges.create(&PostParams::default(), &of("after")).await?;
        let time = until(running.address, &host("after"), StatusCode::OK).await?;
        println!("a new Challenge is answered {time:?} after it was created");
        let answer = ask(running.address, &host("after"), "a-token").await?;
        ensure!(answer == (StatusCode::OK, "a-token.a-thumbprint".to_owned()), "{answer:?}");

        challenges.delete("after", &DeleteParams::default()).await?;
        until(running.address, &host("after"), StatusCode::NOT_FOUND).await?;
        ensure!(ask(running.address, &host("before"), "a-token").await?.0 == StatusCode::OK);
        watch.abort();
        Ok(())
    })
    .await
}

#[tokio::test]
async fn it_ends_what_it_has_begun_and_takes_nothing_new() -> Result<()> {
    let tokens = Tokens::default();
    tokens.replace_all([fixtures::challenge("web", |_| {})]);
    let Running { address, stop, server } = start(tokens).await?;
    // A request whose head has begun.
    let mut slow = TcpStream::connect(address).await?;
    slow.write_all(b"GET /.well-known/acme-challenge/a-token HTTP/1.1\r\nHost: web.example.test\r\n").await?;
    sleep(Duration::from_millis(100)).await;
    stop.send(()).ok().context("the server is gone already")?;
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), refused).await.context("it takes new connections")?;
    slow.write_all(b"Connection: close\r\n\r\n").await?;
    let mut answer = String::new();
    timeout(Duration::from_secs(5), slow.read_to_string(&mut answer)).await??;
    ensure!(answer.ends_with("a-token.a-thumbprint"), "{answer:?}");
    timeout(Duration::from_secs(5), server).await.context("it did not end")??;
    Ok(())
}

#[tokio::test]
async fn who_does_not_finish_a_request_is_shut_out() -> Result<()> {
    let running = start(Tokens::default()).await?;
    let mut idle = TcpStream::connect(running.address).await?;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: ").await?;
    let began = Instant::now();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), idle.read_to_end(&mut answer)).await.context("it waits for ever")??;
    ensure!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    let mut large = TcpStream::connect(running.address).await?;
    large.write_all(format!("GET /{} HTTP/1.1\r\n", "a".repeat(100_000)).as_bytes()).await.ok();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), large.read_to_end(&mut answer)).await.context("it reads for ever")?.ok();
    ensure!(!answer.starts_with(b"HTTP/1.1 200"));
    let alive =
        Request::get(format!("http://{}/", running.address)).header(HOST, "x").body(bytes::Bytes::new())?;
    let answer = http::request(&Network::Host, alive, &Trust::Nothing).await?;
    ensure!(answer.status() == StatusCode::NOT_FOUND);
    Ok(())
}
