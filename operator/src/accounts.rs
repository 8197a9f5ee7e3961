//! The ACME accounts and servers in use, kept in memory and shared by all controllers. Everything here can be lost:
//! accounts are found again by their keys. Next: `acme/mod.rs`, `decision/limits.rs`.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use crds::{acme::AcmeIssuer, meta::CLUSTER_ISSUER_KIND};
use jiff::Timestamp;
use kube::Resource;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    acme::{Account, AcmeError, Observer, Server, ServerSettings, Trust},
    clock::Clock,
    decision::limits::{NewOrderSlot, NewOrders},
    sync::lock,
};

/// The identity of an Issuer or ClusterIssuer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerKey {
    /// The namespace of an Issuer; `None` for a ClusterIssuer.
    pub namespace: Option<String>,
    /// The name of the issuer.
    pub name: String,
}

impl IssuerKey {
    /// Returns the issuer that an `issuerRef` with this kind and name means in a namespace.
    pub fn new(kind: &str, name: &str, namespace: &str) -> Self {
        let namespace = (kind != CLUSTER_ISSUER_KIND).then(|| namespace.to_owned());
        Self { namespace, name: name.to_owned() }
    }
}

impl fmt::Display for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "Issuer {namespace}/{}", self.name),
            None => write!(f, "{CLUSTER_ISSUER_KIND} {}", self.name),
        }
    }
}

/// The revision of an issuer's spec that an account belongs to. A new UID or generation needs a new lookup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerVersion {
    uid: Option<String>,
    generation: Option<i64>,
}

impl IssuerVersion {
    /// Returns the version of an Issuer or ClusterIssuer.
    pub fn of(issuer: &impl Resource) -> Self {
        Self { uid: issuer.meta().uid.clone(), generation: issuer.meta().generation }
    }
}

/// How a server is reached. Issuers with the same key share connections, nonces, and rate limits.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ServerKey {
    url: String,
    ca_bundle: Option<Vec<u8>>,
    skip_tls_verify: bool,
}

/// The accounts and servers in use.
pub struct Accounts {
    servers: Mutex<HashMap<ServerKey, Arc<Server>>>,
    in_use: Mutex<HashMap<IssuerKey, (IssuerVersion, Account)>>,
    /// By account URL, because several issuers may share an account.
    new_orders: Mutex<HashMap<String, NewOrders>>,
    clock: Arc<dyn Clock>,
    observer: Observer,
}

impl Accounts {
    /// Returns an empty set. `observer` receives every request to an ACME server.
    pub fn new(clock: Arc<dyn Clock>, observer: Observer) -> Self {
        Self {
            servers: Mutex::default(),
            in_use: Mutex::default(),
            new_orders: Mutex::default(),
            clock,
            observer,
        }
    }

    /// Returns the server of an issuer, and connects to none yet.
    ///
    /// # Errors
    /// [`AcmeError::CaBundle`] if the CA bundle can't be used.
    pub fn server(&self, acme: &AcmeIssuer) -> Result<Arc<Server>, AcmeError> {
        let key = ServerKey {
            url: acme.server.clone(),
            ca_bundle: acme
                .ca_bundle
                .as_ref()
                .map(|bundle| bundle.0.clone())
                .filter(|bundle| !bundle.is_empty()),
            skip_tls_verify: acme.skip_tls_verify.unwrap_or_default(),
        };
        let mut servers = lock(&self.servers);
        if let Some(server) = servers.get(&key) {
            return Ok(Arc::clone(server));
        }
        let trust = match &key.ca_bundle {
            _ if key.skip_tls_verify => Trust::AnyCertificate,
            None => Trust::System,
            Some(bundle) => Trust::Roots(roots(bundle)?),
        };
        let settings = ServerSettings {
            trust,
            clock: Arc::clone(&self.clock),
            observer: Some(Arc::clone(&self.observer)),
            ..ServerSettings::new(key.url.clone())
        };
        let server = Server::new(settings).map_err(|_| AcmeError::CaBundle)?;
        let server = Arc::new(server);
        servers.insert(key, Arc::clone(&server));
        Ok(server)
    }

    /// Returns the account of an issuer, if it is in use for this version of the spec.
    pub fn get(&self, key: &IssuerKey, version: &IssuerVersion) -> Option<Account> {
        lock(&self.in_use).get(key).filter(|(of, _)| of == version).map(|(_, account)| account.clone())
    }

    /// Stores the account of an issuer.
    pub fn put(&self, key: IssuerKey, version: IssuerVersion, account: Account) {
        lock(&self.in_use).insert(key, (version, account));
    }

    /// Removes the account of an issuer.
    pub fn forget(&self, key: &IssuerKey) {
        lock(&self.in_use).remove(key);
    }

    /// Returns when an account may place a new order that renews nothing. `limit` is the number of new orders that the
    /// CA allows in 3 h; `held` is the slot that the order got before.
    pub fn new_order_slot(
        &self,
        account_url: &str,
        limit: Option<u32>,
        now: Timestamp,
        held: Option<Timestamp>,
    ) -> NewOrderSlot {
        self.with_new_orders(account_url, limit, |orders| orders.slot(now, held))
    }

    /// Blocks new orders of an account until a time, because the CA rejects them until then.
    pub fn close_new_orders(&self, account_url: &str, limit: Option<u32>, until: Timestamp) {
        self.with_new_orders(account_url, limit, |orders| orders.close(until));
    }

    fn with_new_orders<T>(
        &self,
        account_url: &str,
        limit: Option<u32>,
        apply: impl FnOnce(&mut NewOrders) -> T,
    ) -> T {
        let mut accounts = lock(&self.new_orders);
        let orders = accounts.entry(account_url.to_owned()).or_insert_with(|| NewOrders::new(limit));
        orders.set_limit(limit);
        apply(orders)
    }
}

fn roots(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, AcmeError> {
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
    match roots {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        _ => Err(AcmeError::CaBundle),
    }
}

#[cfg(test)]
mod tests {
    use crds::fixtures;
    use k8s_openapi::ByteString;

    use super::*;
    use crate::clock::SystemClock;

    fn accounts() -> Accounts {
        Accounts::new(Arc::new(SystemClock), Arc::new(|_| {}))
    }

    fn acme_issuer() -> AcmeIssuer {
        fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer")
    }

    #[test]
    fn issuers_share_a_server_with_the_same_trust() {
        let accounts = accounts();
        let acme = acme_issuer();
        let first = accounts.server(&acme).expect("a server");
        let again = accounts.server(&acme).expect("a server");
        assert!(Arc::ptr_eq(&first, &again));
        let insecure = AcmeIssuer { skip_tls_verify: Some(true), ..acme };
        assert!(!Arc::ptr_eq(&first, &accounts.server(&insecure).expect("a server")));
    }

    #[test]
    fn invalid_ca_bundle_is_reported() {
        let acme = AcmeIssuer { ca_bundle: Some(ByteString(b"no PEM".to_vec())), ..acme_issuer() };
        let error = accounts().server(&acme).expect_err("an invalid bundle");
        assert!(error.to_string().contains("caBundle"), "{error}");
    }

    #[test]
    fn new_orders_are_counted_per_account() {
        let accounts = accounts();
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let until = "2026-01-01T00:10:00Z".parse().expect("a time");
        let turn = |url| accounts.new_order_slot(url, Some(300), now, None);
        assert!((0..294).all(|_| turn("https://ca/a") == NewOrderSlot::Now));
        assert_ne!(turn("https://ca/a"), NewOrderSlot::Now);
        assert_eq!(turn("https://ca/b"), NewOrderSlot::Now);
        accounts.close_new_orders("https://ca/c", Some(300), until);
        assert_eq!(turn("https://ca/c"), NewOrderSlot::At(until));
    }
}
