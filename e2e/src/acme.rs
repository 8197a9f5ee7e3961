//! instant-acme on the bed's own HTTP client, so that a test can be an ACME client of any Pebble, wherever it runs.
//! For tests of the bed; the operator has its own transport, with all that this one lacks.

use std::pin::Pin;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error,
    HttpClient, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::{
    http::{self, Network, Trust},
    pebble::Pebble,
};

/// Begins an account at a Pebble.
pub fn account_builder(pebble: &Pebble) -> AccountBuilder {
    let transport = Transport { network: pebble.network().clone(), trust: pebble.trust().clone() };
    Account::builder_with_http(Box::new(transport))
}

#[derive(Clone, Debug)]
struct Transport {
    network: Network,
    trust: Trust,
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let Self { network, trust } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|error| Error::Other(error.into()))?.to_bytes();
            let answer = http::request(&network, Request::from_parts(parts, body), &trust)
                .await
                .map_err(|error| Error::Other(error.into()))?;
            Ok(answer.map(Full::new).into())
        })
    }
}

/// What [`issue`] got.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain, PEM, leaf first, without the root.
    pub chain: String,
    /// The private key of the leaf: P-256, PKCS#8, PEM.
    pub key: String,
}

/// Gets a certificate for DNS names from a Pebble, by a new account, with a new key.
/// `serve` is given each token and key authorization (RFC 8555 section 8.1), and returns when they are served.
pub async fn issue(
    pebble: &Pebble,
    dns_names: &[&str],
    mut serve: impl AsyncFnMut(&str, &str) -> anyhow::Result<()>,
) -> anyhow::Result<Issued> {
    let account = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let (account, _credentials) =
        account_builder(pebble).create(&account, pebble.directory_url(), None).await?;
    let identifiers: Vec<_> = dns_names.iter().map(|name| Identifier::Dns((*name).to_owned())).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let mut challenge =
            authorization.challenge(ChallengeType::Http01).context("Pebble offers no http-01 challenge")?;
        let key_authorization = challenge.key_authorization();
        serve(&challenge.token, key_authorization.as_str()).await?;
        challenge.set_ready().await?;
    }
    let status = order.poll_ready(&RetryPolicy::default()).await?;
    anyhow::ensure!(status == OrderStatus::Ready, "the order is {status:?}, not ready");
    let mut params = CertificateParams::new(dns_names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate()?;
    order.finalize_csr(params.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&RetryPolicy::default()).await?;
    Ok(Issued { chain, key: key.serialize_pem() })
}
