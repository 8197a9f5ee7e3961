//! A small HTTP and TLS client that connects inside a cluster or on the host. It makes one request per connection, so
//! that a test never observes an old connection. Not for the code under test. Next: `probe.rs`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use fast_socks5::client::{Config, Socks5Stream};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Uri,
    client::conn::http1,
    header::{HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How long a request may take, including the connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The default `User-Agent`.
const CLIENT: &str = concat!("testbed/", env!("CARGO_PKG_VERSION"));

/// Where connections start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// This host.
    Host,
    /// Inside a cluster, through its SOCKS relay.
    Relay(SocketAddr),
}

impl Network {
    /// Connects to a port. A relay resolves the name inside the cluster.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream> {
        match self {
            Self::Host => Ok(TcpStream::connect((host, port)).await?),
            Self::Relay(relay) => {
                let stream = Socks5Stream::connect(relay, host.to_owned(), port, Config::default())
                    .await
                    .with_context(|| format!("failed to reach {host}:{port} inside the cluster"))?;
                Ok(stream.get_socket())
            }
        }
    }
}

/// The certificates that a client accepts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// None: HTTPS always fails.
    Nothing,
    /// Those that chain to one of these roots, in PEM.
    Roots(String),
}

impl Trust {
    /// The roots for rustls; empty for [`Trust::Nothing`].
    pub fn store(&self) -> Result<RootCertStore> {
        let mut store = RootCertStore::empty();
        if let Self::Roots(pem) = self {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                store.add(certificate?)?;
            }
        }
        Ok(store)
    }
}

/// Sends a `GET` request, and returns the response with its whole body.
pub async fn get(network: &Network, url: &str, trust: &Trust) -> Result<Response<Bytes>> {
    request(network, Request::get(url).body(Bytes::new())?, trust).await
}

/// Sends a request whose URI is absolute, and returns the response with its whole body.
pub async fn request(network: &Network, request: Request<Bytes>, trust: &Trust) -> Result<Response<Bytes>> {
    let url = request.uri().clone();
    timeout(TIMEOUT, exchange(network, request, trust))
        .await
        .with_context(|| format!("{url} did not answer within {} s", TIMEOUT.as_secs()))?
        .with_context(|| format!("failed to fetch {url}"))
}

async fn exchange(network: &Network, mut request: Request<Bytes>, trust: &Trust) -> Result<Response<Bytes>> {
    let url = request.uri().clone();
    let authority = url.authority().context("the URL has no host")?.clone();
    let host = authority.host().to_owned();
    request.headers_mut().insert(HOST, authority.as_str().parse()?);
    // Required by RFC 8555 section 6.1.
    request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(CLIENT));
    *request.uri_mut() =
        url.path_and_query().map_or_else(|| Uri::from_static("/"), |path| path.clone().into());
    let tls = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        other => bail!("the scheme {other:?} is not supported: use http or https"),
    };
    let stream = network.dial(&host, authority.port_u16().unwrap_or(if tls { 443 } else { 80 })).await?;
    if !tls {
        return send(stream, request).await;
    }
    let mut config = client_config(trust.store()?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host)?;
    send(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, request).await
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Result<Response<Bytes>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (parts, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}

/// TLS 1.2 and 1.3 with the workspace's crypto backend.
pub(crate) fn client_config(roots: RootCertStore) -> Result<ClientConfig> {
    Ok(ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
