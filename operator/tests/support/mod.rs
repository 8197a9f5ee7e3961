//! A Pebble of one's own, a server of tokens for it, and an order walked step by step.

#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use testbed::{
    http, paths,
    pebble::{Pebble, Settings, TokenServer},
    tools::Tools,
};
use tokio::time::sleep;

/// How long to wait before a state is looked at again.
const POLL: Duration = Duration::from_millis(100);

/// A Pebble with a server of tokens, and a count of what it is asked.
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

    /// How the Pebble is talked to: with its own CA, on loopback.
    pub(crate) fn settings(&self) -> Result<ServerSettings> {
        let http::Trust::Roots(roots) = self.pebble.trust() else { bail!("Pebble has no CA") };
        let roots = CertificateDer::pem_slice_iter(roots.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let requests = Arc::clone(&self.requests);
        Ok(ServerSettings {
            trust: Trust::Roots(roots),
            allow_loopback: true,
            requests_per_second: 10_000.0,
            requests_per_second_and_account: 10_000.0,
            observer: Some(Arc::new(move |seen| {
                let what = if *seen.method == Method::HEAD { "newNonce" } else { seen.url };
                requests.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
            })),
            ..ServerSettings::new(self.pebble.directory_url())
        })
    }

    /// A server that remembers nothing.
    pub(crate) fn server(&self) -> Result<Arc<Server>> {
        Ok(Arc::new(Server::new(self.settings()?)?))
    }

    /// A new account with a key of a kind.
    pub(crate) async fn account(&self, kind: KeyKind) -> Result<Account> {
        let key = Arc::new(AccountKey::new(PrivateKey::generate(kind)?));
        Ok(Account::find_or_create(self.server()?, key, &[], None).await?)
    }

    /// Answers a challenge as the account must.
    pub(crate) fn serve(&self, account: &Account, challenge: &Challenge) {
        self.tokens.add(&challenge.token, &account.key().key_authorization(&challenge.token));
    }

    /// Answers a challenge as nobody should.
    pub(crate) fn serve_wrongly(&self, challenge: &Challenge, answer: &str) {
        self.tokens.add(&challenge.token, answer);
    }

    /// What was asked for so far: URLs, and `newNonce`.
    pub(crate) fn requests(&self) -> MutexGuard<'_, Vec<String>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was asked for and answered so far.
    pub(crate) fn forget(&self) {
        self.requests().clear();
        self.tokens.forget();
    }

    /// How many of the requests so far have a part in their URL.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|url| url.contains(part)).count()
    }

    /// Orders names, and walks to the certificate.
    pub(crate) async fn issue(&self, account: &Account, order: &NewOrder) -> Result<Issued> {
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256))?;
        let (url, _) = account.new_order(order).await?;
        let chain = self.walk(account, &url, order, &key).await?;
        Ok(Issued { chain, key })
    }

    /// Walks from wherever an order is to its certificate.
    pub(crate) async fn walk(
        &self,
        account: &Account,
        url: &str,
        wanted: &NewOrder,
        key: &PrivateKey,
    ) -> Result<Chain> {
        for _ in 0..600 {
            let order = account.order(url).await?;
            match order.status {
                OrderStatus::Pending => {
                    for authorization in &order.authorizations {
                        self.authorize(account, authorization).await?;
                    }
                }
                OrderStatus::Ready => {
                    let csr = csr(wanted).sign(key)?;
                    account.finalize(url, &order.finalize, &csr).await?;
                }
                OrderStatus::Processing => {}
                OrderStatus::Valid => {
                    let certificate = order.certificate.context("a valid order has a certificate")?;
                    return Ok(account.preferred_chain(&certificate, "").await??);
                }
                OrderStatus::Invalid => bail!("the order is invalid: {:?}", order.error),
            }
            sleep(POLL).await;
        }
        bail!("the order {url} does not come to an end")
    }

    /// As a controller walks: from what the last answer said, never asking what is known; waiting from 250 ms upwards.
    /// Returns how many requests it took.
    pub(crate) async fn walk_sparingly(&self, account: &Account, wanted: &NewOrder) -> Result<usize> {
        let mut requests = 1;
        let (url, mut state) = account.new_order(wanted).await?;
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
        let csr = csr(wanted).sign(&PrivateKey::generate(KeyKind::Ecdsa(Curve::P256))?)?;
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

    /// Answers the challenge of an authorization that is pending.
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

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) chain: Chain,
    pub(crate) key: PrivateKey,
}

/// The HTTP-01 challenge of an authorization.
pub(crate) fn http01(authorization: &AuthorizationState) -> Result<&Challenge> {
    let mut challenges = authorization.challenges.iter();
    challenges
        .find(|challenge| challenge.r#type == ChallengeType::Http01)
        .context("there is no http-01 challenge")
}

/// An order for DNS names.
pub(crate) fn order(names: &[&str]) -> NewOrder {
    let identifiers = names.iter().map(|name| Identifier::Dns((*name).to_owned())).collect();
    NewOrder { identifiers, ..NewOrder::default() }
}

/// The CSR for what is ordered.
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
