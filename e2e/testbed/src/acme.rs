//! instant-acme with the testbed's HTTP client, so that a test can be an ACME client of any Pebble, inside a cluster or
//! on the host. For tests of the testbed and for baselines. Must not share code with the operator's ACME client.
//! Next: `pebble`.

use std::{pin::Pin, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error,
    HttpClient, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::{
    http::{self, Network, Trust},
    pebble::Pebble,
};

/// Returns a builder for an account at a Pebble.
pub fn account_builder(pebble: &Pebble) -> AccountBuilder {
    observed_account_builder(pebble, |_| {})
}

/// Like [`account_builder`], but calls `observe` with every response of the Pebble.
pub fn observed_account_builder(
    pebble: &Pebble,
    observe: impl Fn(&Response<Bytes>) + Send + Sync + 'static,
) -> AccountBuilder {
    Account::builder_with_http(Box::new(Transport {
        network: pebble.network().clone(),
        trust: pebble.trust().clone(),
        observe: Arc::new(observe),
    }))
}

/// Creates an account that agrees to the terms of service.
pub async fn new_account(pebble: &Pebble, builder: AccountBuilder) -> Result<Account, Error> {
    let account = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    Ok(builder.create(&account, pebble.directory_url(), None).await?.0)
}

/// A callback for every response.
type Observe = dyn Fn(&Response<Bytes>) + Send + Sync;

#[derive(Clone)]
struct Transport {
    network: Network,
    trust: Trust,
    observe: Arc<Observe>,
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let Self { network, trust, observe } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|error| Error::Other(error.into()))?.to_bytes();
            let answer = http::request(&network, Request::from_parts(parts, body), &trust)
                .await
                .map_err(|error| Error::Other(error.into()))?;
            observe(&answer);
            Ok(answer.map(Full::new).into())
        })
    }
}

/// The result of [`issue`].
#[derive(Clone, Debug)]
pub struct Issued {
    /// The chain in PEM, leaf first, without the root.
    pub chain: String,
    /// The private key of the leaf: P-256, in PKCS#8 and PEM.
    pub key: String,
}

/// Obtains a certificate for DNS names, with a new key. `serve` gets each token with its key authorization
/// (RFC 8555 section 8.1), and returns when these are served.
#[expect(clippy::disallowed_methods, reason = "a test may sleep until Pebble has issued")]
pub async fn issue(
    account: &Account,
    dns_names: &[&str],
    serve: impl AsyncFnMut(&str, &str) -> anyhow::Result<()>,
) -> anyhow::Result<Issued> {
    let mut order = new_order(account, dns_names).await?;
    authorize(&mut order, serve).await?;
    let mut params = CertificateParams::new(dns_names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate()?;
    order.finalize_csr(params.serialize_request(&key)?.der()).await?;
    let chain = order.poll_certificate(&RetryPolicy::default()).await?;
    Ok(Issued { chain, key: key.serialize_pem() })
}

/// Places an order for DNS names.
pub async fn new_order(account: &Account, dns_names: &[&str]) -> Result<Order, Error> {
    let identifiers: Vec<_> = dns_names.iter().map(|name| Identifier::Dns((*name).to_owned())).collect();
    account.new_order(&NewOrder::new(&identifiers)).await
}

/// Solves the HTTP-01 challenges of an order, and waits until it is `ready`.
#[expect(clippy::disallowed_methods, reason = "a test may sleep until Pebble has validated")]
pub async fn authorize(
    order: &mut Order,
    mut serve: impl AsyncFnMut(&str, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
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
    Ok(())
}
