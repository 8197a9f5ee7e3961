//! Servers that are broken or not ACME servers: the client reports each as a distinct error, within its deadline.

mod support;

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use operator::{
    acme::{Account, AccountKey, AcmeError, Class, Server, ServerSettings, Trust},
    pki::{Curve, KeyKind, PrivateKey},
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;
use support::World;
use testbed::{pebble::Settings, pki::Authority};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, Infallible>;

const DEADLINE: Duration = Duration::from_secs(1);

/// How a server misbehaves on every request.
#[derive(Clone, Copy, Debug)]
enum Oddity {
    /// An HTML page with status 200.
    Html,
    /// JSON with status 200 that is not a directory.
    OtherJson,
    /// The error page of a load balancer, with a `Retry-After` header or without.
    Unavailable(Option<&'static str>),
    /// Status 404.
    NotFound,
    /// A redirect.
    Redirect,
    /// Truncated JSON.
    Truncated,
    /// A body without end.
    Endless,
    /// No response.
    Hanging,
    /// A body that arrives too slowly.
    Dripping,
    /// A closed connection.
    Closing,
    /// ACME responses without regard to keys and nonces, of which one is a lie.
    Lying(Lie),
}

/// What is wrong with the responses of an ACME server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// A resource is at another host.
    Elsewhere(&'static str),
    /// The URL of an order is longer than an Order's status can hold.
    LongUrl,
    /// An order has authorizations without end.
    ManyAuthorizations,
    /// An authorization has challenges without end.
    ManyChallenges,
    /// A certificate has alternate chains without end.
    ManyAlternates,
}

/// The ACME server that lies.
fn lie(lie: Lie, request: &Request<Incoming>) -> Result<Response<Body>, hyper::http::Error> {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let url = |resource: &str| {
        let is_elsewhere = matches!(lie, Lie::Elsewhere(it) if it == resource);
        format!("https://{}/{resource}", if is_elsewhere { "other.example.test" } else { host })
    };
    let challenge = json!({ "type": "http-01", "url": url("challenge"), "token": "t", "status": "pending" });
    let order = json!({
        "status": "valid",
        "authorizations": vec![url("authorization"); if lie == Lie::ManyAuthorizations { 20_000 } else { 1 }],
        "finalize": url("finalize"),
        "certificate": url("certificate"),
    });
    let mut response = Response::builder().header("replay-nonce", "nonce");
    let body = match request.uri().path() {
        "/dir" => {
            json!({ "newNonce": url("nonce"), "newAccount": url("new-account"), "newOrder": url("new-order") })
        }
        "/new-account" => {
            response = response.status(201).header("location", url("account"));
            json!({ "status": "valid" })
        }
        "/new-order" => {
            let long = if lie == Lie::LongUrl { "o".repeat(3000) } else { String::new() };
            response = response.status(201).header("location", url("order") + &long);
            order
        }
        "/authorization" => json!({
            "identifier": { "type": "dns", "value": "a.example.test" },
            "status": "pending",
            "challenges": vec![challenge; if lie == Lie::ManyChallenges { 3000 } else { 1 }],
        }),
        "/certificate" => {
            let links = if lie == Lie::ManyAlternates { 60 } else { 1 };
            for _ in 0..links {
                response = response.header("link", format!("<{}>;rel=\"alternate\"", url("alternate")));
            }
            json!("a chain")
        }
        _ => order,
    };
    response.body(full(&body.to_string()))
}

struct OddServer {
    address: SocketAddr,
    root: CertificateDer<'static>,
    task: JoinHandle<()>,
}

impl Drop for OddServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OddServer {
    async fn start(oddity: Oddity) -> Result<Self> {
        let authority = Authority::new("odd")?;
        let identity = authority.server("odd", &["localhost"], &[Ipv4Addr::LOCALHOST.into()])?;
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let service = service_fn(move |request| respond(oddity, request));
                        _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        let root = CertificateDer::from_pem_slice(authority.certificate().as_bytes())?;
        Ok(Self { address, root, task })
    }

    fn settings(&self) -> ServerSettings {
        ServerSettings {
            trust: Trust::Roots(vec![self.root.clone()]),
            allow_loopback: true,
            deadline: DEADLINE,
            ..ServerSettings::new(format!("https://{}/dir", self.address))
        }
    }

    async fn error(&self) -> Result<AcmeError> {
        Server::new(self.settings())?
            .directory()
            .await
            .err()
            .context("an odd server was accepted as an ACME server")
    }
}

fn full(text: &str) -> Body {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

async fn respond(oddity: Oddity, request: Request<Incoming>) -> std::io::Result<Response<Body>> {
    let html = || Response::builder().header("content-type", "text/html");
    let endless = |text: Bytes, pause: Duration| {
        let frames = futures::stream::unfold(text, move |text| async move {
            tokio::time::sleep(pause).await;
            Some((Ok::<_, Infallible>(Frame::data(text.clone())), text))
        });
        BodyExt::boxed(StreamBody::new(Box::pin(frames)))
    };
    let response = match oddity {
        Oddity::Html => html().body(full("<html>Welcome</html>")),
        Oddity::OtherJson => Response::builder().body(full(r#"{"status":"ok"}"#)),
        Oddity::Unavailable(retry_after) => {
            let response = html().status(503);
            match retry_after {
                Some(value) => response.header("retry-after", value),
                None => response,
            }
            .body(full("<html>Service Unavailable</html>"))
        }
        Oddity::NotFound => html().status(404).body(full("<html>Not Found</html>")),
        Oddity::Redirect => Response::builder()
            .status(301)
            .header("location", "https://acme.example.test/directory")
            .body(full("")),
        Oddity::Truncated => Response::builder().body(full(r#"{"newNonce":"https://127.0.0.1/n","newAcc"#)),
        Oddity::Endless => {
            Response::builder().body(endless(Bytes::from(vec![b'0'; 1 << 16]), Duration::ZERO))
        }
        Oddity::Hanging => {
            tokio::time::sleep(Duration::from_mins(10)).await;
            Response::builder().body(full(""))
        }
        Oddity::Dripping => {
            Response::builder().body(endless(Bytes::from_static(b" "), Duration::from_millis(50)))
        }
        Oddity::Lying(kind) => lie(kind, &request),
        Oddity::Closing => return Err(std::io::ErrorKind::ConnectionAborted.into()),
    };
    Ok(response.expect("the response is well-formed"))
}

#[tokio::test]
async fn odd_servers_have_distinct_errors() -> Result<()> {
    let limited = |seconds| Class::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
    for (oddity, class, message) in [
        (Oddity::Html, Class::Fatal, "the response is not an ACME directory. Check spec.acme.server"),
        (Oddity::OtherJson, Class::Fatal, "the response is not an ACME directory"),
        (
            Oddity::Unavailable(None),
            Class::Transient,
            "status 503 Service Unavailable with text/html instead of an ACME problem",
        ),
        (Oddity::Unavailable(Some("7")), limited(7), "503 Service Unavailable"),
        (
            Oddity::NotFound,
            Class::Fatal,
            "status 404 Not Found with text/html instead of an ACME problem. Check spec.acme.server",
        ),
        (
            Oddity::Redirect,
            Class::Fatal,
            "it redirects to https://acme.example.test/directory, and redirects are not followed. Check spec.acme.server",
        ),
        (Oddity::Truncated, Class::Fatal, "the response is not an ACME directory"),
        (Oddity::Endless, Class::Fatal, "the response is larger than 1048576 bytes"),
        (Oddity::Hanging, Class::Transient, "no response within 1 s"),
        (Oddity::Dripping, Class::Transient, "no response within 1 s"),
        (Oddity::Closing, Class::Transient, "failed to reach"),
    ] {
        let server = OddServer::start(oddity).await?;
        let began = Instant::now();
        let error = server.error().await.with_context(|| format!("{oddity:?}"))?;
        let time = began.elapsed();
        ensure!(error.class() == class, "{oddity:?}: {error:?} is {:?}", error.class());
        let text = error.to_string();
        ensure!(text.contains(message), "{oddity:?}: {text}");
        ensure!(time < DEADLINE + Duration::from_millis(500), "{oddity:?} took {time:?}");
    }
    Ok(())
}

/// Everything that an order needs, up to the chains of its certificate.
async fn talk(server: &OddServer) -> Result<(), AcmeError> {
    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
    let client = Arc::new(Server::new(server.settings()).expect("settings of a server"));
    let account = Account::find_or_create(client, Arc::new(AccountKey::new(key)), &[], None).await?;
    let (url, state) = account.new_order(&support::order(&["a.example.test"])).await?;
    for authorization in &state.authorizations {
        account.authorization(authorization).await?;
    }
    account.finalize(&url, &state.finalize, b"csr").await?;
    let chains = account.certificate(&state.certificate.unwrap_or_default()).await?;
    assert!(chains.alternates.len() <= 10, "{} alternate chains", chains.alternates.len());
    for alternate in &chains.alternates {
        account.certificate(alternate).await?;
    }
    Ok(())
}

/// A tenant's server must not make the operator sign requests to others, or remember more than an order needs.
#[tokio::test]
async fn lies_of_servers_are_refused() -> Result<()> {
    for (lie, message) in [
        (Lie::None, None),
        (Lie::Elsewhere("account"), Some("the URL of the account is \"https://other.example.test/account\"")),
        (Lie::Elsewhere("order"), Some("names a resource \"https://other.example.test/order\"")),
        (
            Lie::Elsewhere("authorization"),
            Some("names a resource \"https://other.example.test/authorization\""),
        ),
        (Lie::Elsewhere("finalize"), Some("names a resource \"https://other.example.test/finalize\"")),
        (Lie::Elsewhere("challenge"), Some("names a resource \"https://other.example.test/challenge\"")),
        (Lie::Elsewhere("certificate"), Some("names a resource \"https://other.example.test/certificate\"")),
        (Lie::Elsewhere("alternate"), Some("names a resource \"https://other.example.test/alternate\"")),
        (Lie::LongUrl, Some("https URL of at most 2048 characters")),
        (Lie::ManyAuthorizations, Some("a list of at most 1000 entries")),
        (Lie::ManyChallenges, Some("a list of at most 32 entries")),
        (Lie::ManyAlternates, None),
    ] {
        let server = OddServer::start(Oddity::Lying(lie)).await?;
        let outcome = talk(&server).await.map_err(|error| (error.class(), error.to_string()));
        match (&outcome, message) {
            (Ok(()), None) => {}
            (Err((Class::Fatal, text)), Some(message)) if text.contains(message) => {}
            _ => anyhow::bail!("{lie:?}: {outcome:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn unreachable_server_is_transient() -> Result<()> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.port();
    let settings = ServerSettings {
        allow_loopback: true,
        deadline: DEADLINE,
        ..ServerSettings::new(format!("https://127.0.0.1:{port}/dir"))
    };
    let error = Server::new(settings)?.directory().await.err().context("the port is closed")?;
    ensure!(error.class() == Class::Transient, "{error:?}");
    ensure!(error.to_string().contains("Connection refused"), "{error}");
    Ok(())
}

#[tokio::test]
async fn untrusted_certificate_needs_skip_tls_verify() -> Result<()> {
    let server = OddServer::start(Oddity::NotFound).await?;
    let settings = ServerSettings { trust: Trust::System, ..server.settings() };
    let error = Server::new(settings)?.directory().await.err().context("the certificate was trusted")?;
    ensure!(
        error.class() == Class::Transient && error.to_string().contains("invalid peer certificate"),
        "{error}"
    );
    let settings = ServerSettings { trust: Trust::AnyCertificate, ..server.settings() };
    let error = Server::new(settings)?.directory().await.err().context("the response was accepted")?;
    ensure!(error.to_string().contains("404 Not Found"), "{error}");
    Ok(())
}

#[tokio::test]
async fn forbidden_addresses_are_never_requested() -> Result<()> {
    for (url, message) in [
        ("https://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("https://[fe80::1]/dir", "fe80::1"),
        ("https://127.0.0.1:1/dir", "127.0.0.1"),
        ("https://[::ffff:127.0.0.1]:1/dir", "127.0.0.1"),
        ("https://localhost:1/dir", "localhost"),
        ("http://192.0.2.1/dir", "not an HTTPS URL"),
        ("ftp://192.0.2.1/dir", "not an HTTPS URL"),
        ("not a url", "it is not a URL"),
    ] {
        let error = Server::new(ServerSettings::new(url))?.directory().await.err().context(url)?;
        ensure!(error.class() == Class::Fatal && error.to_string().contains(message), "{url}: {error:?}");
    }
    Ok(())
}

/// A relay to Pebble that closes its first connections, like a load balancer that is still starting.
async fn unsteady_relay(target: SocketAddr, closed: usize) -> Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind((target.ip(), 0)).await?;
    let address = listener.local_addr()?;
    let relay = tokio::spawn(async move {
        let mut accepted = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            accepted += 1;
            if accepted > closed {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(target).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut server).await
                });
            }
        }
    });
    Ok((address, relay))
}

#[tokio::test]
async fn failed_connections_are_retried_twice() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let port =
        world.pebble.directory_url().rsplit(':').next().and_then(|rest| rest.split('/').next()?.parse().ok());
    let target = SocketAddr::new(world.pebble.address(), port.context("no port")?);
    for (closed, reached) in [(2, true), (3, false)] {
        let (address, relay) = unsteady_relay(target, closed).await?;
        let settings =
            ServerSettings { directory_url: format!("https://{address}/dir"), ..world.settings()? };
        let outcome = Server::new(settings)?.directory().await;
        ensure!(outcome.is_ok() == reached, "{closed} connections closed: {outcome:?}");
        ensure!(outcome.err().is_none_or(|error| error.class() == Class::Transient));
        relay.abort();
    }
    Ok(())
}

/// Requests to a hanging server delay no requests to another one.
#[tokio::test]
async fn hanging_server_blocks_only_its_own_clients() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let hanging = OddServer::start(Oddity::Hanging).await?;
    let stuck =
        Arc::new(Server::new(ServerSettings { deadline: Duration::from_mins(10), ..hanging.settings() })?);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let stuck = Arc::clone(&stuck);
            tokio::spawn(async move { stuck.directory().await.map(drop) })
        })
        .collect();
    let key = Arc::new(AccountKey::new(PrivateKey::generate(KeyKind::Ecdsa(Curve::P256))?));
    let began = Instant::now();
    let account = Account::find_or_create(world.server()?, key, &[], None).await?;
    world.issue(&account, &support::order(&["free.example.test"])).await?;
    ensure!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    ensure!(waiting.iter().all(|task| !task.is_finished()), "a hanging server responded");
    waiting.iter().for_each(JoinHandle::abort);
    Ok(())
}
