//! A proxy as the only way to an ACME server: a program that answers CONNECT requests on loopback, in front of a real Pebble. The
//! operator may not connect to loopback itself, and at the name that it uses nothing listens.

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use operator::{
    acme::{Account, AccountKey, AcmeError, NewOrder, Phase, Server, ServerSettings},
    net::Proxy,
    pki::{Curve, KeyKind, PrivateKey},
    sync::lock,
};
use std::sync::Mutex;
use support::{World, order};
use testbed::pebble::Settings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

const P256: KeyKind = KeyKind::Ecdsa(Curve::P256);

/// "user:secret" as a proxy gets it.
const CREDENTIALS: &str = "Basic dXNlcjpzZWNyZXQ=";

/// A proxy that connects every tunnel to one server, and records its requests.
struct ConnectProxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ConnectProxy {
    /// Starts a proxy. It answers with `status` if that is not 200.
    async fn start(target: SocketAddr, status: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, requests) = (listener.local_addr()?, Arc::<Mutex<Vec<String>>>::default());
        let recorded = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(tunnel(client, target, status, Arc::clone(&recorded)));
            }
        });
        Ok(Self { address, requests })
    }
}

async fn tunnel(
    mut client: TcpStream,
    target: SocketAddr,
    status: &'static str,
    requests: Arc<Mutex<Vec<String>>>,
) -> Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(client.read_u8().await?);
    }
    lock(&requests).push(String::from_utf8(request)?);
    client.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await?;
    if status.starts_with("200") {
        copy_bidirectional(&mut client, &mut TcpStream::connect(target).await?).await?;
    }
    Ok(())
}

/// Settings for a Pebble at a name where nothing listens, with a proxy.
fn settings(world: &World, proxy: Proxy) -> Result<(ServerSettings, u16)> {
    let settings = world.settings()?;
    let url: hyper::Uri = settings.directory_url.parse()?;
    let port = url.port_u16().context("a port")?;
    let directory_url = format!("https://localhost:{port}{}", url.path());
    Ok((ServerSettings { directory_url, proxy, allow_loopback: false, ..settings }, port))
}

#[tokio::test]
async fn certificate_is_issued_through_a_proxy() -> Result<()> {
    let world = World::new(&Settings::default()).await?;
    let (direct, port) = settings(&world, Proxy::default())?;
    let proxy = ConnectProxy::start(SocketAddr::new(world.pebble.address(), port), "200 Connected").await?;
    // Without the proxy, there is no way.
    ensure!(Server::new(direct)?.directory().await.is_err(), "the server is reached directly");

    let environment = Proxy::new(&format!("http://user:secret@{}", proxy.address), "internal.example")?;
    let (through, _) = settings(&world, environment)?;
    let server = Arc::new(Server::new(through)?);
    let key = Arc::new(AccountKey::new(PrivateKey::generate(P256)?));
    let account = Account::find_or_create(server, key, &[], None).await?;
    let order: NewOrder = order(&["a.example.test"]);
    let issued = world.issue(&account, &order).await?;
    issued.chain.check(&issued.key, &["a.example.test".to_owned()], &[], jiff::Timestamp::UNIX_EPOCH)?;

    let requests = lock(&proxy.requests).clone();
    let start = format!("CONNECT localhost:{port} HTTP/1.1\r\n");
    ensure!(!requests.is_empty() && requests.iter().all(|it| it.starts_with(&start)), "{requests:?}");
    ensure!(requests.iter().all(|it| it.contains(CREDENTIALS)), "without credentials: {requests:?}");
    Ok(())
}

#[tokio::test]
async fn failure_of_the_proxy_is_named_without_credentials() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let (_, port) = settings(&world, Proxy::default())?;
    let target = SocketAddr::new(world.pebble.address(), port);
    for (status, expected) in
        [("407 Proxy Authentication Required", "authorization"), ("403 Forbidden", "unsuccessful")]
    {
        let proxy = ConnectProxy::start(target, status).await?;
        let url = format!("http://user:secret@{}", proxy.address);
        let (through, _) = settings(&world, Proxy::new(&url, "")?)?;
        let error = Server::new(through)?.directory().await.err().context("the proxy refuses")?;
        let text = error.to_string();
        ensure!(text.contains(&format!("failed to connect through the proxy {}", proxy.address)), "{text}");
        ensure!(text.contains(expected) && !text.contains("secret"), "{text}");
        let never_sent = matches!(error, AcmeError::Unreachable { phase: Phase::Connecting, .. });
        ensure!(never_sent, "a request that was never sent may be repeated");
    }
    Ok(())
}

/// A proxy that hangs delays a request no longer than its deadline. An address in a URL is checked before the proxy is asked.
#[tokio::test]
async fn proxy_circumvents_no_limit() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::new(&format!("http://{}", silent.local_addr()?), "")?;
    let (through, _) = settings(&world, proxy)?;
    let server = Server::new(ServerSettings { deadline: Duration::from_millis(300), ..through.clone() })?;
    let began = tokio::time::Instant::now();
    ensure!(server.directory().await.is_err() && began.elapsed() < Duration::from_secs(5));
    let metadata = ServerSettings { directory_url: "https://169.254.169.254/dir".to_owned(), ..through };
    ensure!(matches!(Server::new(metadata)?.directory().await, Err(AcmeError::Address { .. })));
    Ok(())
}
