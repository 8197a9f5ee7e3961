//! A Pebble for one test, an HTTP-01 token server for it, and helpers that drive an order step by step.

#![allow(dead_code, reason = "each test target uses only some helpers")]

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use hyper::Method;
use operator::{
    acme::{
        Account, AccountKey, AuthorizationState, AuthorizationStatus, Challenge, ChallengeType, Identifier,
        NewOrder, OrderStatus, Server, ServerSettings, Trust,
    },
    pki::{Chain, CsrRequest, Curve, KeyKind, PrivateKey},
    sync::lock,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use testbed::{
    http, paths,
    pebble::{Pebble, Settings, TokenServer},
    tools::Tools,
};
use tokio::time::sleep;

/// The pause between two fetches of a state.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A Pebble with a token server, and a record of the requests it receives.
pub(crate) struct World {
    pub(crate) pebble: Pebble,
    tokens: TokenServer,
    requests: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub(crate) async fn new(settings: &Settings) -> Result<Self> {
        let pebble = Pebble::on_host(&Tools::seen_at(paths::cache()?), settings).await?;
        let tokens = TokenServer::start(&pebble).await?;
        Ok(Self { pebble, tokens, requests: Arc::default() })
    }

    /// Settings for a client of this Pebble: its own CA, on loopback, without rate limits.
    pub(crate) fn settings(&self) -> Result<ServerSettings> {
        let http::Trust::Roots(roots) = self.pebble.trust() else { bail!("Pebble has no CA") };
        let roots = CertificateDer::pem_slice_iter(roots.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let requests = Arc::clone(&self.requests);
        Ok(ServerSettings {
            trust: Trust::Roots(roots),
            allow_loopback: true,
            requests_per_second: 10_000.0,
            requests_per_second_per_account: 10_000.0,
            observer: Some(Arc::new(move |observation| {
                let request = if *observation.method == Method::HEAD { "newNonce" } else { observation.url };
                lock(&requests).push(request.to_owned());
            })),
            ..ServerSettings::new(self.pebble.directory_url())
        })
    }

    /// A new client without cached state.
    pub(crate) fn server(&self) -> Result<Arc<Server>> {
        Ok(Arc::new(Server::new(self.settings()?)?))
    }

    /// Creates an account with a new key.
    pub(crate) async fn account(&self, kind: KeyKind) -> Result<Account> {
        let key = Arc::new(AccountKey::new(PrivateKey::generate(kind)?));
        Ok(Account::find_or_create(self.server()?, key, &[], None).await?)
    }

    /// Serves the correct key authorization for a challenge.
    pub(crate) fn serve(&self, account: &Account, challenge: &Challenge) {
        self.tokens.add(&challenge.token, &account.key().key_authorization(&challenge.token));
    }

    /// Serves a wrong response for a challenge.
    pub(crate) fn serve_wrong(&self, challenge: &Challenge, response: &str) {
        self.tokens.add(&challenge.token, response);
    }

    /// The requests so far, as URLs or `newNonce`.
    pub(crate) fn requests(&self) -> MutexGuard<'_, Vec<String>> {
        lock(&self.requests)
    }

    /// Clears the recorded requests and the served tokens.
    pub(crate) fn forget(&self) {
        self.requests().clear();
        self.tokens.forget();
    }

    /// The number of requests so far whose URL contains `part`.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|url| url.contains(part)).count()
    }

    /// Places an order and drives it to a certificate.
    pub(crate) async fn issue(&self, account: &Account, order: &NewOrder) -> Result<Issued> {
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256))?;
        let (url, _) = account.new_order(order).await?;
        let chain = self.complete(account, &url, order, &key).await?;
        Ok(Issued { chain, key })
    }

    /// Drives an order from its current state to a certificate.
    pub(crate) async fn complete(
        &self,
        account: &Account,
        url: &str,
        order: &NewOrder,
        key: &PrivateKey,
    ) -> Result<Chain> {
        for _ in 0..600 {
            let state = account.order(url).await?;
            match state.status {
                OrderStatus::Pending => {
                    for authorization in &state.authorizations {
                        self.authorize(account, authorization).await?;
                    }
                }
                OrderStatus::Ready => {
                    let csr = csr(order).sign(key)?;
                    account.finalize(url, &state.finalize, &csr).await?;
                }
                OrderStatus::Processing => {}
                OrderStatus::Valid => {
                    let certificate = state.certificate.context("a valid order without a certificate")?;
                    return Ok(account.preferred_chain(&certificate, "").await??);
                }
                OrderStatus::Invalid => bail!("the order is invalid: {:?}", state.error),
            }
            sleep(POLL_INTERVAL).await;
        }
        bail!("the order {url} did not finish")
    }

    /// Issues like the order controller does: uses the state in each response instead of fetching it again, and polls
    /// at intervals from 250 ms upward. Returns the number of requests.
    pub(crate) async fn issue_sparingly(&self, account: &Account, order: &NewOrder) -> Result<usize> {
        let mut requests = 1;
        let (url, mut state) = account.new_order(order).await?;
        for authorization_url in state.authorizations.clone() {
            requests += 1;
            let authorization = account.authorization(&authorization_url).await?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let challenge = http01(&authorization)?;
            self.serve(account, challenge);
            requests += 1;
            account.challenge_ready(&challenge.url).await?;
        }
        let mut wait = Duration::from_millis(250);
        let csr = csr(order).sign(&PrivateKey::generate(KeyKind::Ecdsa(Curve::P256))?)?;
        loop {
            match state.status {
                OrderStatus::Ready => {
                    requests += 1;
                    state = account.finalize(&url, &state.finalize, &csr).await?;
                    wait = Duration::from_millis(250);
                }
                OrderStatus::Valid => break,
                OrderStatus::Invalid => bail!("the order is invalid: {:?}", state.error),
                OrderStatus::Pending | OrderStatus::Processing => {
                    sleep(wait).await;
                    wait *= 2;
                    requests += 1;
                    state = account.order(&url).await?;
                }
            }
        }
        requests += 1;
        account.preferred_chain(&state.certificate.context("no certificate")?, "").await??;
        Ok(requests)
    }

    /// Completes the HTTP-01 challenge of an authorization, if it is pending.
    async fn authorize(&self, account: &Account, url: &str) -> Result<()> {
        let authorization = account.authorization(url).await?;
        if authorization.status != AuthorizationStatus::Pending {
            return Ok(());
        }
        let challenge = http01(&authorization)?;
        self.serve(account, challenge);
        account.challenge_ready(&challenge.url).await?;
        Ok(())
    }
}

/// A certificate chain with its private key.
pub(crate) struct Issued {
    pub(crate) chain: Chain,
    pub(crate) key: PrivateKey,
}

/// Returns the HTTP-01 challenge of an authorization.
pub(crate) fn http01(authorization: &AuthorizationState) -> Result<&Challenge> {
    let mut challenges = authorization.challenges.iter();
    challenges.find(|challenge| challenge.r#type == ChallengeType::Http01).context("no http-01 challenge")
}

/// Returns an order for DNS names.
pub(crate) fn order(names: &[&str]) -> NewOrder {
    let identifiers = names.iter().map(|name| Identifier::Dns((*name).to_owned())).collect();
    NewOrder { identifiers, ..NewOrder::default() }
}

/// Returns the CSR for an order.
pub(crate) fn csr(order: &NewOrder) -> CsrRequest {
    let mut request = CsrRequest::default();
    for identifier in &order.identifiers {
        match identifier {
            Identifier::Dns(name) => request.dns_names.push(name.clone()),
            Identifier::Ip(address) => request.ip_addresses.push(*address),
            _ => {}
        }
    }
    request
}
