//! What every reconcile gets: the API server, the cache, the memory, ACME accounts.
//!
//! Knows which parts there are; each part lives in a module of its own. Must not hold state itself. Next: [`crate::cache`],
//! [`crate::memory`], [`crate::k8s`].

mod accounts;
mod key_pool;
mod settings;

use std::sync::Arc;

use jiff::Timestamp;
use kube::{Client, Resource};

pub use self::{key_pool::KeyPool, settings::Settings};
use crate::{
    accounts::Accounts, acme::Observer, cache::Cache, clock::Clock, k8s::KubeClient, memory::Memory,
    objects::secret_meta::SecretMeta, self_check::SelfCheck,
};

/// What every reconcile gets.
pub struct Context {
    /// The API server.
    pub kube: KubeClient,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the flags say.
    pub settings: Settings,
    /// What the watches know.
    pub cache: Arc<Cache>,
    /// What is remembered between reconciles and may be lost.
    pub memory: Memory,
    /// ACME accounts.
    pub accounts: Accounts,
    /// Probes of challenges.
    pub self_check: SelfCheck,
    /// Where private keys are generated.
    pub keys: KeyPool,
}

impl Context {
    /// A context with an empty cache. `observer` sees every ACME request.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(
        client: Client,
        clock: Arc<dyn Clock>,
        settings: Settings,
        observer: Observer,
    ) -> Result<Self, rustls::Error> {
        let cache = Cache {
            cluster_resource_namespace: settings.cluster_resource_namespace.clone(),
            ..Cache::default()
        };
        let self_check = SelfCheck::new(settings.name_servers.clone())?;
        Ok(Self {
            kube: KubeClient::new(client, settings.instance.clone()),
            memory: Memory::new(clock.now()),
            accounts: Accounts::new(Arc::clone(&clock), settings.proxy.clone(), observer),
            clock,
            settings,
            cache: Arc::new(cache),
            self_check,
            keys: KeyPool::default(),
        })
    }

    /// A context with the default flags.
    #[cfg(test)]
    pub(crate) fn for_test(client: Client, proxy: crate::net::Proxy) -> Arc<Self> {
        use clap::Parser as _;

        let settings = crate::args::Arguments::parse_from(["operator"]).settings();
        let settings = Settings { proxy, ..settings };
        let context = Self::new(client, Arc::new(crate::clock::SystemClock), settings, Arc::new(|_| {}));
        Arc::new(context.expect("a context"))
    }

    /// Now, UTC.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Forgets an object that was deleted.
    pub fn forget<K: Resource>(&self, object: &K) {
        if let Some(uid) = &object.meta().uid {
            self.kube.forget(uid);
            self.memory.forget(uid);
            self.accounts.forget_deleted(uid);
        }
    }

    /// Forgets what is remembered of a Secret that has changed or was deleted.
    pub fn forget_secret(&self, secret: &SecretMeta) {
        let (namespace, name) = (secret.namespace().to_owned(), secret.name().to_owned());
        if let Some(owner) = &secret.owner {
            self.memory.deleted_keys.forget(&(owner.uid.to_string(), name.clone()));
        }
        self.cache.secret_reads.forget(&(namespace, name));
    }
}
