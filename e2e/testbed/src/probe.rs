//! The chain that a TLS server sends, and whether a client with given roots would accept it.
//! Knows nothing about which chain is expected. Next: `http.rs` for requests that verify the server.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::http::{Network, Trust, client_config};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The chain that a server sent in one handshake.
#[derive(Clone, Debug)]
pub struct ServedChain {
    /// The certificates as sent, in DER, the leaf first. Never empty.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Whether a client would accept the chain for the name at this time. The error says why not.
    pub verdict: Result<(), rustls::Error>,
}

impl ServedChain {
    /// The leaf certificate.
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.certificates[0]
    }
}

/// Makes a TLS handshake for `server_name` at `host:port`, and returns the chain that was served.
///
/// # Errors
/// The connection or the handshake failed. An untrusted chain is not an error; see [`ServedChain::verdict`].
pub async fn tls(
    network: &Network,
    host: &str,
    port: u16,
    server_name: &str,
    trust: &Trust,
) -> Result<ServedChain> {
    let name = ServerName::try_from(server_name.to_owned())?;
    let handshake = async {
        let stream = network.dial(host, port).await?;
        Ok::<_, anyhow::Error>(
            TlsConnector::from(Arc::new(accepting_config()?)).connect(name.clone(), stream).await?,
        )
    };
    let stream = timeout(TIMEOUT, handshake)
        .await
        .with_context(|| format!("no TLS handshake within {} s", TIMEOUT.as_secs()))??;
    let certificates: Vec<_> = stream
        .get_ref()
        .1
        .peer_certificates()
        .context("the server sent no certificate")?
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect();
    let (leaf, intermediates) = certificates.split_first().context("the server sent an empty chain")?;
    let verdict = match verifier(trust)? {
        Some(verifier) => {
            verifier.verify_server_cert(leaf, intermediates, &name, &[], UnixTime::now()).map(drop)
        }
        None => Err(rustls::Error::General("there are no roots to verify the chain with".into())),
    };
    Ok(ServedChain { certificates, verdict })
}

fn verifier(trust: &Trust) -> Result<Option<Arc<WebPkiServerVerifier>>> {
    let roots = trust.store()?;
    if roots.is_empty() {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(Some(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?))
}

fn accepting_config() -> Result<ClientConfig> {
    let mut config = client_config(rustls::RootCertStore::empty())?;
    config.dangerous().set_certificate_verifier(Arc::new(AcceptAny));
    Ok(config)
}

/// Accepts every chain in the handshake, because the probe verifies it afterwards.
#[derive(Debug)]
struct AcceptAny;

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

fn algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}
