//! ACME accounts that are in use, each with its key in memory, shared by all controllers.

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
    decision::limits::{NewOrders, Turn},
    sync::lock,
};

/// Which issuer: a ClusterIssuer has no namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerKey {
    /// Of an Issuer.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl IssuerKey {
    /// The issuer that is meant by a kind and a name in a namespace.
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

/// The spec of an issuer that an account was registered for: a change of the UID or the generation makes it another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerVersion {
    uid: Option<String>,
    generation: Option<i64>,
}

impl IssuerVersion {
    /// Returns the current version of an Issuer or ClusterIssuer.
    pub fn of(issuer: &impl Resource) -> Self {
        Self { uid: issuer.meta().uid.clone(), generation: issuer.meta().generation }
    }
}

/// How a server is reached: two issuers with the same share connections, nonces and limits.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ServerKey {
    url: String,
    ca_bundle: Option<Vec<u8>>,
    skip_tls_verify: bool,
}

/// Accounts that are in use.
pub struct Accounts {
    servers: Mutex<HashMap<ServerKey, Arc<Server>>>,
    in_use: Mutex<HashMap<IssuerKey, (IssuerVersion, Account)>>,
    /// By URL of the account, which several issuers may have.
    new_orders: Mutex<HashMap<String, NewOrders>>,
    clock: Arc<dyn Clock>,
    observer: Observer,
}

impl Accounts {
    /// None yet. `observer` sees every request.
    pub fn new(clock: Arc<dyn Clock>, observer: Observer) -> Self {
        Self {
            servers: Mutex::default(),
            in_use: Mutex::default(),
            new_orders: Mutex::default(),
            clock,
            observer,
        }
    }

    /// The server of an issuer.
    ///
    /// # Errors
    /// The CA bundle can't be used.
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
        let server = Server::new(settings).map_err(|_| bad_bundle())?;
        let server = Arc::new(server);
        servers.insert(key, Arc::clone(&server));
        Ok(server)
    }

    /// The account of an issuer as it stands, if it is in use.
    pub fn get(&self, key: &IssuerKey, version: &IssuerVersion) -> Option<Account> {
        lock(&self.in_use).get(key).filter(|(of, _)| of == version).map(|(_, account)| account.clone())
    }

    /// Takes an account into use.
    pub fn put(&self, key: IssuerKey, version: IssuerVersion, account: Account) {
        lock(&self.in_use).insert(key, (version, account));
    }

    /// Forgets an issuer's account.
    pub fn forget(&self, key: &IssuerKey) {
        lock(&self.in_use).remove(key);
    }

    /// Whether an account may place a new order now, one that renews nothing. `limit` is how many the CA allows in three hours;
    /// `held` is the turn that the order was given before.
    pub fn new_order_turn(
        &self,
        account_url: &str,
        limit: Option<u32>,
        now: Timestamp,
        held: Option<Timestamp>,
    ) -> Turn {
        self.with_new_orders(account_url, limit, |orders| orders.turn(now, held))
    }

    /// The CA takes no new order of an account until then.
    pub fn close_new_orders(&self, account_url: &str, limit: Option<u32>, until: Timestamp) {
        self.with_new_orders(account_url, limit, |orders| orders.close(until));
    }

    fn with_new_orders<T>(
        &self,
        account_url: &str,
        limit: Option<u32>,
        then: impl FnOnce(&mut NewOrders) -> T,
    ) -> T {
        let mut all = lock(&self.new_orders);
        let orders = all.entry(account_url.to_owned()).or_insert_with(|| NewOrders::new(limit));
        orders.set_limit(limit);
        then(orders)
    }
}

fn roots(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, AcmeError> {
    let roots: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
    match roots {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        _ => Err(bad_bundle()),
    }
}

fn bad_bundle() -> AcmeError {
    AcmeError::Unsupported(
        "a connection with spec.acme.caBundle: it holds no certificates in PEM that can be used".to_owned(),
    )
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

    #[test]
    fn issuers_at_one_server_share_it_and_a_bundle_that_is_none_is_told() {
        let accounts = accounts();
        let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
        let first = accounts.server(&acme).expect("a server");
        let again = accounts.server(&acme).expect("a server");
        assert!(Arc::ptr_eq(&first, &again));
        let mut trusting = acme.clone();
        trusting.skip_tls_verify = Some(true);
        assert!(!Arc::ptr_eq(&first, &accounts.server(&trusting).expect("a server")));
        let mut broken = acme;
        broken.ca_bundle = Some(ByteString(b"no PEM".to_vec()));
        let error = accounts.server(&broken).expect_err("a bundle that is none");
        assert!(error.to_string().contains("caBundle"), "{error}");
    }

    #[test]
    fn new_orders_are_counted_by_account() {
        let accounts = accounts();
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let until = "2026-01-01T00:10:00Z".parse().expect("a time");
        let turn = |url| accounts.new_order_turn(url, Some(300), now, None);
        assert!((0..294).all(|_| turn("https://ca/a") == Turn::Now));
        assert_ne!(turn("https://ca/a"), Turn::Now);
        assert_eq!(turn("https://ca/b"), Turn::Now);
        accounts.close_new_orders("https://ca/c", Some(300), until);
        assert_eq!(turn("https://ca/c"), Turn::At(until));
    }
}
