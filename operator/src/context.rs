//! What all controllers share: the client, what is watched, accounts, keys that are in use, and settings.

use std::{
    collections::HashMap,
    fmt::Debug,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crds::{
    GROUP,
    acme::{AcmeIssuer, Challenge, Order},
    annotations::issuer::NEW_ORDERS_PER_3_HOURS,
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer, IssuerStatus},
    condition,
    meta::{CLUSTER_ISSUER_KIND, DEFAULT_ISSUER_KIND, IssuerRef},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::reflector::{ObjectRef, Store},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    accounts::{Accounts, IssuerKey, Version},
    acme::{Account, AccountKey},
    clock::Clock,
    controllers::{self, Watches},
    decision::{
        self, backoff::IssuanceBackoff, certificate::SecretView, ingress, limits::new_orders_in_3_hours,
    },
    error::{ReconcileError, Tried},
    indexes::Indexes,
    k8s::{self, Events, Waker},
    metrics::Metrics,
    objects::{EventNote, route, seen_secret::SeenSecret},
    pki::{KeyKind, PrivateKey},
    rest::Resting,
    self_check::SelfCheck,
};

/// What flags say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Secrets of ClusterIssuers are.
    pub cluster_resource_namespace: String,
    /// Where the solver runs.
    pub solver_namespace: String,
    /// Name of the solver's own Service.
    pub solver_service: String,
    /// How failed issuances wait.
    pub backoff: IssuanceBackoff,
    /// Ingresses.
    pub ingress: ingress::Settings,
    /// Whether CertificateRequests are approved without anybody's looking.
    pub approves: bool,
    /// Whether a Secret goes with its Certificate.
    pub owns_secrets: bool,
    /// Who writes events, such as the Pod's name.
    pub instance: String,
}

/// What is watched.
#[derive(Clone)]
pub struct Stores {
    /// All.
    pub certificates: Store<Certificate>,
    /// All.
    pub requests: Store<CertificateRequest>,
    /// All.
    pub orders: Store<Order>,
    /// All.
    pub challenges: Store<Challenge>,
    /// All.
    pub ingresses: Store<Ingress>,
    /// All.
    pub issuers: Store<Issuer>,
    /// All.
    pub cluster_issuers: Store<ClusterIssuer>,
    /// Metadata of those with the label of certificates and keys.
    pub secrets: Store<SeenSecret>,
    /// Ours, in namespaces with Challenges.
    pub services: Store<Service>,
    /// Ours, in namespaces with Challenges.
    pub routed_slices: Store<EndpointSlice>,
    /// The solver's own.
    pub solver_slices: Store<EndpointSlice>,
}

/// An issuer of any kind, as far as it concerns what is issued by it.
#[derive(Clone, Debug)]
pub struct AnyIssuer {
    /// Which.
    pub key: IssuerKey,
    /// As it stands.
    pub version: Version,
    /// Its spec, if it is one with an ACME server.
    pub acme: Option<AcmeIssuer>,
    /// What is known of it.
    pub status: IssuerStatus,
    /// Where its Secrets are.
    pub namespace: String,
    /// How many new orders its account may place within three hours, where that is known.
    pub new_orders: Option<u32>,
}

impl AnyIssuer {
    /// Whether its account can be used.
    pub fn is_ready(&self) -> bool {
        condition::is_true(&self.status.conditions, condition::READY)
    }
}

/// What all controllers share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// When the process began, UTC.
    pub started: Timestamp,
    /// What flags say.
    pub settings: Settings,
    /// What is watched.
    pub stores: Stores,
    /// What of it is looked for otherwise than by its name.
    pub indexes: Indexes,
    /// ACME accounts.
    pub accounts: Accounts,
    /// Looks at challenges.
    pub self_check: SelfCheck,
    /// Figures.
    pub metrics: Metrics,
    /// Keys of issuances that are under way, by UID of the Certificate and name of the Secret.
    pub next_keys: Memory<(String, String), Arc<PrivateKey>>,
    /// What stands in Certificates' Secrets, by namespace and name.
    pub secret_reads: Memory<(String, String), SecretRead>,
    /// Certificates that need nothing for now.
    pub resting: Resting,
    /// Secrets with keys that were deleted, by UID of the Certificate and name.
    pub deleted_keys: Memory<(String, String), ()>,
    /// What was made or deleted a moment ago.
    pub lately: Lately,
    /// Orders that are under way, by UID.
    pub orders: Memory<String, controllers::OrderMemory>,
    /// Challenges that are under way, by UID.
    pub challenges: Memory<String, decision::challenge::ChallengeProgress>,
    /// Issuers whose requests to the CA fail, by UID.
    pub issuers: Memory<String, decision::issuer::IssuerProgress>,
    /// Issuers whose account the server has lost.
    pub lost_accounts: Memory<IssuerKey, ()>,
    /// Since when a namespace has had no Challenge.
    pub idle_since: Memory<String, Timestamp>,
    /// EndpointSlices as they were written last, by namespace and name.
    pub slices: Memory<(String, String), EndpointSlice>,
    written: Memory<String, u64>,
    wake_issuer: (Waker<Issuer>, Waker<ClusterIssuer>),
    wake_order: Waker<Order>,
    turns: Memory<String, Arc<tokio::sync::Mutex<()>>>,
    key_makers: Semaphore,
    events: Memory<&'static str, Events>,
}

/// A Secret as it was read last.
#[derive(Clone, Debug)]
pub enum SecretRead {
    /// It was not there.
    Absent {
        /// When that was seen.
        since: Timestamp,
    },
    /// What stood in it.
    Present {
        /// Its resourceVersion.
        version: String,
        /// What stood in it.
        view: Arc<SecretView>,
    },
}

/// Something that is remembered between two looks, and lost with the process: never needed to be right.
#[derive(Debug)]
pub struct Memory<K, V>(Mutex<HashMap<K, V>>);

/// What was made or deleted a moment ago, and may not have been heard of yet: it is not made or deleted once more.
#[derive(Debug, Default)]
pub struct Lately(Mutex<HashMap<String, Timestamp>>);

impl Lately {
    /// How long that may take.
    pub const MOMENT: Duration = Duration::from_secs(2);

    /// Whether it was done a moment ago.
    pub fn is(&self, what: &str, now: Timestamp) -> bool {
        let done = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(what).copied();
        done.is_some_and(|done| is_moment(done, now))
    }

    /// It was done.
    pub fn put(&self, what: String, now: Timestamp) {
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        done.retain(|_, when| is_moment(*when, now));
        done.insert(what, now);
    }

    /// It was undone.
    pub fn forget(&self, what: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(what);
    }
}

fn is_moment(done: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(done)).is_ok_and(|age| age < Lately::MOMENT)
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: std::hash::Hash + Eq, V: Clone> Memory<K, V> {
    /// What is remembered.
    pub fn get(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// What is remembered, or what is made now.
    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> V) -> V {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert_with(make).clone()
    }

    /// Remembers.
    pub fn put(&self, key: K, value: V) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
    }

    /// Forgets all but those with these keys.
    pub fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| keep(key));
    }

    /// Forgets; returns what was remembered.
    pub fn forget(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }
}

impl Context {
    /// Puts it together.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(
        client: Client,
        clock: Arc<dyn Clock>,
        settings: Settings,
        metrics: Metrics,
        watches: &Watches,
    ) -> Result<Self, rustls::Error> {
        let observer = metrics.acme_observer();
        Ok(Self {
            client,
            started: clock.now(),
            clock,
            settings,
            stores: watches.stores.clone(),
            indexes: Indexes::default(),
            accounts: Accounts::new(observer),
            self_check: SelfCheck::new()?,
            metrics,
            next_keys: Memory::default(),
            secret_reads: Memory::default(),
            resting: Resting::default(),
            deleted_keys: Memory::default(),
            lately: Lately::default(),
            orders: Memory::default(),
            challenges: Memory::default(),
            issuers: Memory::default(),
            lost_accounts: Memory::default(),
            idle_since: Memory::default(),
            slices: Memory::default(),
            written: Memory::default(),
            wake_issuer: watches.issuer_wakers(),
            wake_order: watches.order_waker(),
            turns: Memory::default(),
            // Making an RSA key takes a core for as long as it takes.
            key_makers: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            events: Memory::default(),
        })
    }

    /// Writes the status of an object as it was read, if it differs, and remembers that older ones are old. Returns the
    /// resourceVersion that it has now, if it did.
    ///
    /// # Errors
    /// A conflict where the object has changed since it was read.
    pub async fn write_status<K, S>(
        &self,
        api: &Api<K>,
        manager: &str,
        object: &K,
        old: Option<&S>,
        new: &S,
    ) -> Result<Option<String>, ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        S: Serialize,
    {
        let Some(written) = k8s::write_status(api, manager, object, old, new).await? else {
            return Ok(None);
        };
        if let Some((uid, version)) = written.uid().zip(version(&written)) {
            self.written.put(uid, version);
        }
        Ok(Some(written.resource_version().unwrap_or_default()))
    }

    /// Whether an object is older than what was written of it: what is new has not been heard of yet.
    pub fn is_stale<K: Resource>(&self, object: &K) -> bool {
        let Some(uid) = &object.meta().uid else { return false };
        let stale = self.written.get(uid).zip(version(object)).is_some_and(|(written, it)| it < written);
        if !stale {
            self.written.forget(uid);
        }
        stale
    }

    /// Forgets what is only remembered of an object that is there.
    pub fn forget<K: Resource>(&self, object: &K) {
        let Some(uid) = object.meta().uid.clone() else { return };
        self.written.forget(&uid);
        self.orders.forget(&uid);
        self.challenges.forget(&uid);
        self.issuers.forget(&uid);
        self.next_keys.retain(|(owner, _)| *owner != uid);
    }

    /// Forgets what is only remembered of a Secret that is there, or was a moment ago.
    pub fn forget_secret(&self, secret: &SeenSecret) {
        let (namespace, name) = (secret.namespace().to_owned(), secret.name().to_owned());
        if let Some(owner) = &secret.owner {
            self.deleted_keys.forget(&(owner.uid.to_string(), name.clone()));
        }
        self.secret_reads.forget(&(namespace, name));
    }

    /// Tells users of an object, in the name of a controller.
    pub fn publish<K: Resource<DynamicType = ()>>(
        &self,
        controller: &'static str,
        note: &EventNote,
        about: &K,
    ) {
        let make = || Events::new(self.client.clone(), controller, &self.settings.instance);
        self.events.get_or_insert_with(controller, make).publish(note, about);
    }

    /// Now, UTC.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Objects of a kind in a namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The issuer that a reference means, in the namespace of who refers. `None` for one of another group.
    pub fn issuer(&self, reference: &IssuerRef, namespace: &str) -> IssuerLookup {
        let identity = reference.identity();
        if identity.group != GROUP || ![DEFAULT_ISSUER_KIND, CLUSTER_ISSUER_KIND].contains(&identity.kind) {
            return IssuerLookup::Foreign;
        }
        let key = IssuerKey::new(identity.kind, identity.name, namespace);
        self.issuer_by_key(&key).map_or(IssuerLookup::Missing, |issuer| IssuerLookup::Found(Box::new(issuer)))
    }

    fn issuer_by_key(&self, key: &IssuerKey) -> Option<AnyIssuer> {
        if let Some(namespace) = &key.namespace {
            let issuer = self.stores.issuers.get(&ObjectRef::new(&key.name).within(namespace))?;
            let spec = issuer.spec.acme.clone();
            return Some(any_issuer(key, &*issuer, spec, issuer.status.clone(), namespace));
        }
        let issuer = self.stores.cluster_issuers.get(&ObjectRef::new(&key.name))?;
        let spec = issuer.spec.acme.clone();
        let namespace = &self.settings.cluster_resource_namespace;
        Some(any_issuer(key, &*issuer, spec, issuer.status.clone(), namespace))
    }

    /// The account of an issuer that is ready.
    ///
    /// # Errors
    /// It is not ready, or its key can't be read.
    pub async fn account(&self, issuer: &AnyIssuer) -> Result<Account, ReconcileError> {
        if let Some(account) = self.accounts.get(&issuer.key, &issuer.version) {
            return Ok(account);
        }
        let not_yet = |what: &str| ReconcileError::NotYet(format!("{} {what}", issuer.key));
        let acme = issuer.acme.as_ref().ok_or_else(|| not_yet("has no ACME server"))?;
        let url = issuer.status.acme.as_ref().and_then(|acme| acme.uri.clone()).filter(|_| issuer.is_ready());
        let url = url.ok_or_else(|| not_yet("is not ready"))?;
        let key = self.account_key(acme, &issuer.namespace).await?;
        let Some(Ok(key)) = key else { return Err(not_yet("has no private key that can be read")) };
        let account = Account::known(self.accounts.server(acme)?, Arc::new(AccountKey::new(key)), url);
        self.accounts.put(issuer.key.clone(), issuer.version.clone(), account.clone());
        Ok(account)
    }

    /// The account's key of an issuer: `None` if there is none, the inner error if it can't be read.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn account_key(
        &self,
        acme: &AcmeIssuer,
        namespace: &str,
    ) -> Result<Option<Result<PrivateKey, crate::pki::KeyError>>, ReconcileError> {
        let reference = &acme.private_key_secret_ref;
        let data_key = reference.key.as_deref().filter(|key| !key.is_empty());
        let data = self.secret_value(namespace, &reference.name, data_key.unwrap_or("tls.key")).await?;
        Ok(data.map(|data| PrivateKey::from_pem(&data)))
    }

    /// One value of a Secret; `None` if it is not there or empty.
    ///
    /// # Errors
    /// The API server refuses.
    pub async fn secret_value(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, ReconcileError> {
        let secret = self.api::<Secret>(namespace).get_opt(name).await;
        let secret = secret.tried(|| format!("read Secret {namespace}/{name}"))?;
        let value = secret.and_then(|mut secret| secret.data.as_mut()?.remove(key));
        Ok(value.map(|value| zeroize::Zeroizing::new(value.0)).filter(|value| !value.is_empty()))
    }

    /// Makes a key, where that blocks nobody.
    ///
    /// # Errors
    /// It can't be made.
    pub async fn make_key(&self, kind: KeyKind) -> Result<PrivateKey, ReconcileError> {
        // It is never closed.
        let _permit = self.key_makers.acquire().await;
        let made = spawn_blocking(move || PrivateKey::generate(kind)).await;
        Ok(made.map_err(|error| ReconcileError::Internal(error.to_string()))??)
    }

    /// Has an issuer's account looked up again, which the server has lost.
    pub fn look_up_account(&self, key: &IssuerKey) {
        self.accounts.forget(key);
        self.lost_accounts.put(key.clone(), ());
        match &key.namespace {
            Some(namespace) => self.wake_issuer.0.wake_named(&key.name, Some(namespace)),
            None => self.wake_issuer.1.wake_named(&key.name, None),
        }
    }

    /// Has an Order looked at again, of which something is known that stands nowhere.
    pub fn wake_order(&self, name: &str, namespace: &str) {
        self.wake_order.wake_named(name, Some(namespace));
    }

    /// What is done by one at a time in a namespace.
    pub fn namespace_turn(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.turns.get_or_insert_with(namespace.to_owned(), Arc::default)
    }

    /// Addresses of the solver's Pods that are ready.
    pub fn solvers(&self) -> Vec<SocketAddr> {
        let slices = self.stores.solver_slices.state();
        let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter());
        let ready = endpoints
            .filter(|it| it.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
        let port = u16::try_from(route::PORT).unwrap_or_default();
        ready.filter_map(|it| Some(SocketAddr::new(it.addresses.first()?.parse().ok()?, port))).collect()
    }
}

/// How new an object is.
fn version<K: Resource>(object: &K) -> Option<u64> {
    k8s::version_number(object.meta().resource_version.as_deref()?)
}

/// What a reference to an issuer leads to.
pub enum IssuerLookup {
    /// To one of a kind that others serve.
    Foreign,
    /// To nothing.
    Missing,
    /// To this one.
    Found(Box<AnyIssuer>),
}

fn any_issuer<K: Resource>(
    key: &IssuerKey,
    object: &K,
    acme: Option<AcmeIssuer>,
    status: Option<IssuerStatus>,
    namespace: &str,
) -> AnyIssuer {
    let asked = object.annotations().get(NEW_ORDERS_PER_3_HOURS).map(String::as_str);
    AnyIssuer {
        key: key.clone(),
        version: (object.uid(), object.meta().generation),
        new_orders: acme.as_ref().and_then(|acme| new_orders_in_3_hours(&acme.server, asked)),
        acme,
        status: status.unwrap_or_default(),
        namespace: namespace.to_owned(),
    }
}

/// How long a reconcile may take that waits for others, such as ACME servers.
pub const DEADLINE: Duration = Duration::from_mins(2);
