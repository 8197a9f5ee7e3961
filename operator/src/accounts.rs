//! The ACME accounts and servers in use, kept in memory and shared by all controllers. Everything here can be lost:
//! accounts are found again by their keys. Next: `acme/mod.rs`, `decision/new_orders.rs`.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest;
use crds::{acme::AcmeIssuer, meta::CLUSTER_ISSUER_KIND};
use jiff::Timestamp;
use kube::Resource;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    acme::{Account, AcmeError, MAX_CA_BUNDLE_BYTES, Observer, Server, ServerSettings, Trust},
    clock::Clock,
    decision::{
        fair_queue::Slots,
        new_orders::{Asking, NewOrderSlot, NewOrders},
    },
    fair_slots::FairSlots,
    net::{MAX_LOOKUPS, Proxy},
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reach {
    url: String,
    /// The SHA-256 of the CA bundle.
    ca_bundle: Option<Vec<u8>>,
    skip_tls_verify: bool,
}

impl Reach {
    /// How the server of an issuer is reached.
    pub fn of(acme: &AcmeIssuer) -> Self {
        let hash = |bundle: &[u8]| digest::digest(&digest::SHA256, bundle).as_ref().to_vec();
        Self {
            url: acme.server.clone(),
            ca_bundle: ca_bundle(acme).map(hash),
            skip_tls_verify: acme.skip_tls_verify.unwrap_or_default(),
        }
    }
}

fn ca_bundle(acme: &AcmeIssuer) -> Option<&[u8]> {
    acme.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice()).filter(|bundle| !bundle.is_empty())
}

/// An account, for limits on its new orders. A server can claim the URL of another server's account: it limits only itself.
pub type LimitedAccount = (Reach, String);

/// How many servers are kept that no account uses: issuers that don't become ready share what is known about these, too.
const MAX_IDLE_SERVERS: usize = 100;

/// How many accounts may have a record of their new orders, before those that have placed none recently are forgotten.
const MAX_LIMITED_ACCOUNTS: usize = 1000;

/// The accounts and servers in use.
pub struct Accounts {
    servers: Mutex<Servers>,
    in_use: Mutex<HashMap<IssuerKey, (IssuerVersion, Account)>>,
    /// By account, because several issuers may share one.
    new_orders: Mutex<HashMap<LimitedAccount, NewOrders<String>>>,
    /// The lookups of the servers' names.
    lookups: FairSlots,
    /// The proxy for connections to the servers.
    proxy: Proxy,
    clock: Arc<dyn Clock>,
    observer: Observer,
}

impl Accounts {
    /// Returns an empty set. All servers are connected to through `proxy`, and `observer` receives every request to them.
    pub fn new(clock: Arc<dyn Clock>, proxy: Proxy, observer: Observer) -> Self {
        Self {
            servers: Mutex::default(),
            in_use: Mutex::default(),
            new_orders: Mutex::default(),
            lookups: FairSlots::new(Slots::few(MAX_LOOKUPS)),
            proxy,
            clock,
            observer,
        }
    }

    /// Returns the server of an issuer, and connects to none yet.
    ///
    /// # Errors
    /// [`AcmeError::CaBundle`] if the CA bundle can't be used.
    pub fn server(&self, acme: &AcmeIssuer) -> Result<Arc<Server>, AcmeError> {
        let reach = Reach::of(acme);
        let mut servers = lock(&self.servers);
        if let Some(server) = servers.get(&reach) {
            return Ok(server);
        }
        let trust = match ca_bundle(acme) {
            _ if reach.skip_tls_verify => Trust::AnyCertificate,
            None => Trust::System,
            Some(bundle) => Trust::Roots(roots(bundle)?),
        };
        let settings = ServerSettings {
            trust,
            clock: Arc::clone(&self.clock),
            observer: Some(Arc::clone(&self.observer)),
            lookups: self.lookups.clone(),
            proxy: self.proxy.clone(),
            ..ServerSettings::new(reach.url.clone())
        };
        let server = Server::new(settings).map_err(|_| AcmeError::CaBundle)?;
        Ok(servers.put(reach, Arc::new(server)))
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

    /// Removes the account of an issuer that was deleted, by its UID.
    pub fn forget_deleted(&self, uid: &str) {
        lock(&self.in_use).retain(|_, (version, _)| version.uid.as_deref() != Some(uid));
    }

    /// Returns when an account may place a new order that renews nothing. `limit` is the number of new orders that the
    /// CA allows in 3 h; `asking` names the order by its UID.
    pub fn new_order_slot(
        &self,
        account: LimitedAccount,
        limit: Option<u32>,
        now: Timestamp,
        asking: &Asking<'_, String>,
    ) -> NewOrderSlot {
        self.with_new_orders(account, limit, now, |orders| orders.slot(now, asking))
    }

    /// Blocks new orders of an account until a time, because the CA rejects them until then.
    pub fn close_new_orders(
        &self,
        account: LimitedAccount,
        limit: Option<u32>,
        now: Timestamp,
        until: Timestamp,
    ) {
        self.with_new_orders(account, limit, now, |orders| orders.close(until));
    }

    /// How many new orders wait for a slot, at all accounts.
    pub fn waiting_orders(&self, now: Timestamp) -> usize {
        lock(&self.new_orders).values_mut().map(|orders| orders.waiting(now)).sum()
    }

    fn with_new_orders<T>(
        &self,
        account: LimitedAccount,
        limit: Option<u32>,
        now: Timestamp,
        apply: impl FnOnce(&mut NewOrders<String>) -> T,
    ) -> T {
        let mut accounts = lock(&self.new_orders);
        if accounts.len() >= MAX_LIMITED_ACCOUNTS && !accounts.contains_key(&account) {
            accounts.retain(|_, orders| !orders.is_idle(now));
        }
        let orders = accounts.entry(account).or_insert_with(|| NewOrders::new(limit));
        orders.set_limit(limit);
        apply(orders)
    }
}

/// Servers by how they are reached, each with the time of its last use, counted in uses.
#[derive(Default)]
struct Servers {
    known: HashMap<Reach, (u64, Arc<Server>)>,
    uses: u64,
}

impl Servers {
    fn get(&mut self, reach: &Reach) -> Option<Arc<Server>> {
        self.uses += 1;
        let (last_use, server) = self.known.get_mut(reach)?;
        *last_use = self.uses;
        Some(Arc::clone(server))
    }

    fn put(&mut self, reach: Reach, server: Arc<Server>) -> Arc<Server> {
        let idle = || self.known.iter().filter(|(_, (_, server))| Arc::strong_count(server) == 1);
        if idle().count() >= MAX_IDLE_SERVERS
            && let Some(oldest) =
                idle().min_by_key(|(_, (last_use, _))| *last_use).map(|(reach, _)| reach.clone())
        {
            self.known.remove(&oldest);
        }
        self.known.insert(reach, (self.uses, Arc::clone(&server)));
        server
    }
}

fn roots(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, AcmeError> {
    if bundle.len() > MAX_CA_BUNDLE_BYTES {
        return Err(AcmeError::CaBundle);
    }
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
    use crate::{
        acme::AccountKey,
        clock::SystemClock,
        pki::{Curve, KeyKind, PrivateKey},
    };

    fn accounts() -> Accounts {
        Accounts::new(Arc::new(SystemClock), Proxy::default(), Arc::new(|_| {}))
    }

    fn asking() -> Asking<'static, String> {
        static ORDER: String = String::new();
        Asking { namespace: "default", order: &ORDER, held: None }
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
        let reach = Reach::of(&acme_issuer());
        let turn =
            |url: &str| accounts.new_order_slot((reach.clone(), url.to_owned()), Some(300), now, &asking());
        assert!((0..294).all(|_| turn("https://ca/a") == NewOrderSlot::Now));
        assert_ne!(turn("https://ca/a"), NewOrderSlot::Now);
        assert_eq!(turn("https://ca/b"), NewOrderSlot::Now);
        accounts.close_new_orders((reach.clone(), "https://ca/c".to_owned()), Some(300), now, until);
        assert_eq!(turn("https://ca/c"), NewOrderSlot::At(until));
    }

    /// A tenant's server may say that its account has the URL of a shared one.
    #[test]
    fn new_orders_of_another_server_count_for_themselves() {
        let accounts = accounts();
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let until = "2026-01-02T00:00:00Z".parse().expect("a time");
        let account = |acme: &AcmeIssuer| (Reach::of(acme), "https://ca/account/1".to_owned());
        let shared = acme_issuer();
        let bundle = |text: &str| Some(ByteString(text.as_bytes().to_vec()));
        for other in [
            AcmeIssuer { server: "https://tenant.test/dir".into(), ..shared.clone() },
            AcmeIssuer { ca_bundle: bundle("a"), ..shared.clone() },
            AcmeIssuer { ca_bundle: bundle("b"), ..shared.clone() },
            AcmeIssuer { skip_tls_verify: Some(true), ..shared.clone() },
        ] {
            assert_eq!(accounts.new_order_slot(account(&other), Some(1), now, &asking()), NewOrderSlot::Now);
            accounts.close_new_orders(account(&other), Some(1), now, until);
            for _ in 0..10 {
                assert_eq!(
                    accounts.new_order_slot(account(&shared), Some(300), now, &asking()),
                    NewOrderSlot::Now
                );
            }
        }
    }

    #[test]
    fn accounts_without_recent_orders_are_forgotten() {
        let accounts = accounts();
        let at = |second| Timestamp::from_second(second).expect("a time");
        let account = |number: i64| (Reach::of(&acme_issuer()), format!("https://ca/{number}"));
        accounts.close_new_orders(account(-1), Some(300), at(0), at(1_000_000));
        for number in 0..2000 {
            accounts.new_order_slot(account(number), Some(300), at(number * 100), &asking());
        }
        let left = lock(&accounts.new_orders);
        assert!(left.len() <= MAX_LIMITED_ACCOUNTS + 1, "{}", left.len());
        assert!(left.contains_key(&account(-1)) && left.contains_key(&account(1999)));
    }

    /// Else a user who edits an Issuer again and again fills the memory.
    #[test]
    fn servers_that_no_account_uses_are_forgotten() {
        let accounts = accounts();
        let acme = |number: usize| {
            let server = format!("https://ca.test/{number}");
            AcmeIssuer { server, skip_tls_verify: Some(true), ..acme_issuer() }
        };
        let used = accounts.server(&acme(0)).expect("a server");
        let first = Arc::downgrade(&accounts.server(&acme(1)).expect("a server"));
        for number in 2..MAX_IDLE_SERVERS + 5 {
            accounts.server(&acme(number)).expect("a server");
        }
        assert!(Arc::ptr_eq(&used, &accounts.server(&acme(0)).expect("a server")));
        assert!(first.upgrade().is_none());
        assert_eq!(lock(&accounts.servers).known.len(), MAX_IDLE_SERVERS + 1);
    }

    /// It has the private key.
    #[test]
    fn account_of_a_deleted_issuer_is_forgotten() {
        let accounts = accounts();
        let issuer = fixtures::issuer("issuer", |it| it.metadata.uid = Some("1".into()));
        let (key, version) = (IssuerKey::new("Issuer", "issuer", "a"), IssuerVersion::of(&issuer));
        let account_key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
        let server = accounts.server(&acme_issuer()).expect("a server");
        let account = Account::from_url(server, Arc::new(AccountKey::new(account_key)), "https://ca/1");
        accounts.put(key.clone(), version.clone(), account);
        accounts.forget_deleted("2");
        assert!(accounts.get(&key, &version).is_some());
        accounts.forget_deleted("1");
        assert!(accounts.get(&key, &version).is_none());
    }
}
