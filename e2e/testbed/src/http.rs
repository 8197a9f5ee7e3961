//! A small HTTP and TLS client that reaches into a cluster, or stays on the host. One request per connection: what a
//! test observes is then never an old connection. Not for the code under test.

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

/// How long one request may take, connection included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the client calls itself, where a request doesn't.
const CLIENT: &str = concat!("testbed/", env!("CARGO_PKG_VERSION"));

/// From where connections are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// This host.
    Host,
    /// Inside a cluster, by its SOCKS relay.
    Relay(SocketAddr),
}

impl Network {
    /// Connects. A relay resolves names inside.
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

/// Whose certificates a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Nobody's: HTTPS always fails.
    Nothing,
    /// Those that chain to one of these roots, PEM.
    Roots(String),
}

impl Trust {
    /// The roots, parsed.
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

/// `GET`, with the whole body.
pub async fn get(network: &Network, url: &str, trust: &Trust) -> Result<Response<Bytes>> {
    request(network, Request::get(url).body(Bytes::new())?, trust).await
}

/// Any request whose URI is absolute, with the whole body of the answer.
pub async fn request(network: &Network, request: Request<Bytes>, trust: &Trust) -> Result<Response<Bytes>> {
    let url = request.uri().clone();
    timeout(TIMEOUT, exchange(network, request, trust))
        .await
        .with_context(|| format!("{url} did not answer within {} s", TIMEOUT.as_secs()))?
        .with_context(|| format!("failed to fetch {url}"))
}

async fn exchange(network: &Network, mut request: Request<Bytes>, trust: &Trust) -> Result<Response<Bytes>> {
    let url = request.uri().clone();
    let authority = url.authority().context("the URL names no host")?.clone();
    let host = authority.host().to_owned();
    request.headers_mut().insert(HOST, authority.as_str().parse()?);
    // RFC 8555 section 6.1 asks for one.
    request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static(CLIENT));
    *request.uri_mut() =
        url.path_and_query().map_or_else(|| Uri::from_static("/"), |path| path.clone().into());
    let tls = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        other => bail!("{other:?} is no scheme that this client speaks"),
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
