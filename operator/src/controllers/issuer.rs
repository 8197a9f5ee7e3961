//! Issuers and ClusterIssuers: does what `decision::issuer` asks for, and records what follows.
//!
//! Knows how a key is generated and an account opened; must not know what a failure means. Next: `decision/issuer/mod.rs`.

use std::{
    fmt::Debug,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crds::{
    acme::AcmeIssuer,
    annotations::issuer::NEW_ORDERS_PER_3_HOURS,
    certmanager::{ClusterIssuer, Issuer, IssuerStatus},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::report::{Report, Reports, ServerOf};
use crate::{
    accounts::{IssuerKey, IssuerVersion},
    acme::{Account, AccountKey, AccountStatus, ExternalAccountKey},
    cache::IssuerConfig,
    context::Context,
    decision::{
        Requeue,
        issuer::{self, AccountError, KeyView, Outcome, Step, View},
        limits::number_of_orders,
    },
    error::ReconcileError,
    k8s,
    objects::{self, metadata::Identity},
    pki::{KeyKind, PrivateKey},
};

/// The names of the controllers in metrics and logs, as cert-manager names them.
pub(super) const NAME: &str = "issuers";
pub(super) const CLUSTER_NAME: &str = "clusterissuers";

/// The field managers of their writes and the reporters of their events, as in cert-manager.
const MANAGER: &str = "cert-manager-issuers";
const CLUSTER_MANAGER: &str = "cert-manager-clusterissuers";

/// The kind of a new account key: cert-manager reads no other.
const ACCOUNT_KEY: KeyKind = KeyKind::Rsa { bits: 2048 };

pub(super) async fn reconcile(object: Arc<Issuer>, context: Arc<Context>) -> Result<Requeue, ReconcileError> {
    let Some(acme) = &object.spec.acme else {
        return Ok(leave_alone(&*object, &IssuerConfig::from(&object.spec), MANAGER, &context));
    };
    let namespace = object.namespace().unwrap_or_default();
    let reconciling = Reconciling {
        context: &context,
        object: &*object,
        api: context.kube.api(&namespace),
        key: IssuerKey { namespace: Some(namespace.clone()), name: object.name_any() },
        uid: object.uid().unwrap_or_default(),
        acme,
        status: object.status.clone().unwrap_or_default(),
        namespace,
        manager: MANAGER,
    };
    reconciling.reconcile().await
}

pub(super) async fn reconcile_cluster(
    object: Arc<ClusterIssuer>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let Some(acme) = &object.spec.acme else {
        return Ok(leave_alone(&*object, &IssuerConfig::from(&object.spec), CLUSTER_MANAGER, &context));
    };
    let reconciling = Reconciling {
        context: &context,
        object: &*object,
        api: Api::all(context.kube.client.clone()),
        key: IssuerKey { namespace: None, name: object.name_any() },
        uid: object.uid().unwrap_or_default(),
        acme,
        status: object.status.clone().unwrap_or_default(),
        namespace: context.settings.cluster_resource_namespace.clone(),
        manager: CLUSTER_MANAGER,
    };
    reconciling.reconcile().await
}

/// Publishes once that an issuer is not served. Its status belongs to the program that serves it.
fn leave_alone<K>(issuer: &K, config: &IssuerConfig, manager: &'static str, context: &Context) -> Requeue
where
    K: Resource<DynamicType = ()>,
{
    let published = &context.memory.notes;
    let (uid, notes) = (issuer.uid_or_empty(), vec![issuer::unsupported(config.type_name())]);
    if issuer.meta().deletion_timestamp.is_none() && published.get(uid).as_ref() != Some(&notes) {
        for note in &notes {
            context.kube.publish(manager, note, issuer, context.now());
        }
        published.put(uid.to_owned(), notes);
    }
    Requeue::Resync
}

impl Reports for Issuer {
    const MANAGER: &'static str = MANAGER;

    const SERVER: Option<ServerOf<Self>> = Some(|issuer, _| Some(issuer.spec.acme.as_ref()?.server.clone()));

    type Status = IssuerStatus;

    fn api(&self, context: &Context) -> Api<Self> {
        context.kube.api(self.namespace_or_empty())
    }

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn reported(&self, report: Report<'_>, now: Timestamp) -> Option<Self::Status> {
        report_in(self.status.as_ref(), self, report, now)
    }
}

impl Reports for ClusterIssuer {
    const MANAGER: &'static str = CLUSTER_MANAGER;

    const SERVER: Option<ServerOf<Self>> = Some(|issuer, _| Some(issuer.spec.acme.as_ref()?.server.clone()));

    type Status = IssuerStatus;

    fn api(&self, context: &Context) -> Api<Self> {
        Api::all(context.kube.client.clone())
    }

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn reported(&self, report: Report<'_>, now: Timestamp) -> Option<Self::Status> {
        report_in(self.status.as_ref(), self, report, now)
    }
}

fn report_in<K: Resource>(
    status: Option<&IssuerStatus>,
    issuer: &K,
    report: Report<'_>,
    now: Timestamp,
) -> Option<IssuerStatus> {
    let Report::Problem(problem) = report else { return None };
    let status = status.cloned().unwrap_or_default();
    Some(issuer::report(&status, issuer.meta().generation, &problem.message, now))
}

struct Reconciling<'a, K> {
    context: &'a Context,
    object: &'a K,
    api: Api<K>,
    key: IssuerKey,
    uid: String,
    acme: &'a AcmeIssuer,
    status: IssuerStatus,
    /// The namespace of the Secrets that the issuer names.
    namespace: String,
    manager: &'static str,
}

/// The MAC key of the external account, as the Secret has it.
type MacKey = Zeroizing<Vec<u8>>;

/// The account's private key, if it can be used, and what a decision may know of it.
struct LoadedKey {
    view: KeyView,
    key: Option<PrivateKey>,
}

impl<K> Reconciling<'_, K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    async fn reconcile(self) -> Result<Requeue, ReconcileError> {
        if self.object.meta().deletion_timestamp.is_some() {
            self.context.accounts.forget(&self.key);
            return Ok(Requeue::Resync);
        }
        self.warn_about_annotation();
        let mut key = self.read_key(KeyView::Absent).await?;
        let has_failed = self.context.memory.issuers.get(&self.uid).is_some();
        let mac_key = if has_failed { self.read_mac_key().await? } else { None };
        loop {
            match issuer::decide(&self.view(&key.view, mac_key.as_ref())) {
                Step::UseAccount(uri) => return self.use_account(key, uri),
                Step::Wait(wait) => {
                    let (kube, old) = (&self.context.kube, Some(&self.status));
                    kube.write_unwritten_status(&self.api, self.manager, self.object, old).await?;
                    return Ok(Requeue::After(wait));
                }
                Step::GenerateKey => key = self.generate_key().await?,
                Step::Register => return self.register(key).await,
                Step::Refuse(outcome) => return self.finish(*outcome, None).await,
            }
        }
    }

    fn view<'a>(&'a self, key: &'a KeyView, mac_key: Option<&MacKey>) -> View<'a> {
        View {
            uid: &self.uid,
            generation: self.object.meta().generation,
            acme: self.acme,
            status: &self.status,
            key,
            mac_key: mac_key.map(|mac_key| {
                let mut hasher = DefaultHasher::new();
                mac_key.hash(&mut hasher);
                hasher.finish()
            }),
            account_lost: self.context.memory.lost_accounts.get(&self.key).is_some(),
            progress: self.context.memory.issuers.get(&self.uid),
            now: self.context.now(),
        }
    }

    fn warn_about_annotation(&self) {
        let value = self.object.annotations().get(NEW_ORDERS_PER_3_HOURS);
        if let Some(value) = value.filter(|value| number_of_orders(value).is_none()) {
            tracing::warn!(
                annotation = NEW_ORDERS_PER_3_HOURS,
                value,
                "ignoring an annotation that is not a number above zero"
            );
        }
    }

    /// Reads the key. `missing` is what it means that there is no data.
    async fn read_key(&self, missing: KeyView) -> Result<LoadedKey, ReconcileError> {
        Ok(match self.context.account_key(self.acme, &self.namespace).await? {
            None => LoadedKey { view: missing, key: None },
            Some(Err(error)) => LoadedKey { view: KeyView::Invalid(error.to_string()), key: None },
            Some(Ok(key)) => LoadedKey::new(key)?,
        })
    }

    /// Generates the key, or reads the one that something else has just stored.
    async fn generate_key(&self) -> Result<LoadedKey, ReconcileError> {
        let key = self.context.keys.generate(ACCOUNT_KEY, &self.namespace).await?;
        let name = &self.acme.private_key_secret_ref.name;
        let secret =
            objects::secret::account_key(&self.namespace, name, self.acme.account_key_data_key(), &key)?;
        let secrets = self.context.kube.api::<Secret>(&self.namespace);
        match k8s::create(&secrets, self.manager, &secret).await? {
            Some(_) => LoadedKey::new(key),
            None => self.read_key(KeyView::Empty).await,
        }
    }

    fn use_account(&self, key: LoadedKey, uri: String) -> Result<Requeue, ReconcileError> {
        let version = IssuerVersion::of(self.object);
        if self.context.accounts.get(&self.key, &version).is_none() {
            let server = self.context.accounts.server(self.acme)?;
            let account = Account::from_url(server, Arc::new(self.account_key(key)?), uri);
            self.context.accounts.put(self.key.clone(), version, account);
        }
        let secret = &self.acme.private_key_secret_ref.name;
        let is_watched = self.context.cache.secrets.get(&self.namespace, secret).is_some();
        Ok(if is_watched { Requeue::Resync } else { Requeue::After(issuer::KEY_CHECK) })
    }

    async fn register(&self, key: LoadedKey) -> Result<Requeue, ReconcileError> {
        let view = key.view.clone();
        let key = Arc::new(self.account_key(key)?);
        let mac_key = self.read_mac_key().await?;
        let external = mac_key.as_deref().map(Vec::as_slice);
        let opened = match issuer::external_account(self.acme, &self.namespace, external) {
            Ok(external) => self.open_account(&key, external.as_ref()).await,
            Err(error) => Err(error),
        };
        match opened {
            Ok(account) => {
                let hash = key.private_key_hash()?;
                let outcome = issuer::on_registered(&self.view(&view, None), account.url(), hash);
                self.finish(outcome, Some(account)).await
            }
            Err(error) => {
                let outcome = issuer::on_account_error(&self.view(&view, mac_key.as_ref()), &error);
                self.finish(outcome, None).await
            }
        }
    }

    async fn read_mac_key(&self) -> Result<Option<MacKey>, ReconcileError> {
        let Some(binding) = &self.acme.external_account_binding else { return Ok(None) };
        let reference = &binding.key_secret_ref;
        let data_key = reference.key.as_deref().unwrap_or_default();
        self.context.kube.secret_value(&self.namespace, &reference.name, data_key).await
    }

    /// Finds or registers the account of a key, and updates its contact.
    async fn open_account(
        &self,
        key: &Arc<AccountKey>,
        external: Option<&ExternalAccountKey>,
    ) -> Result<Account, AccountError> {
        let contact = issuer::contact_urls(self.acme);
        let server = self.context.accounts.server(self.acme).map_err(AccountError::Register)?;
        let failed = self.context.memory.issuers.get(&self.uid);
        if failed.is_some_and(|failed| failed.generation != self.object.meta().generation) {
            // A user has just changed something, and waits.
            server.retry_directory().await;
        }
        let opened = Account::find_or_create(server, Arc::clone(key), &contact, external).await;
        let mut account = opened.map_err(AccountError::Register)?;
        if account.status() != AccountStatus::Valid {
            let (url, status) = (account.url().to_owned(), account.status());
            let secret = self.acme.private_key_secret_ref.name.clone();
            return Err(AccountError::NotValid { url, status, secret });
        }
        if issuer::updates_contact(self.acme, &self.status, account.url(), account.contact()) {
            account.update_contact(&contact).await.map_err(AccountError::UpdateContact)?;
        }
        Ok(account)
    }

    /// Records an outcome. `account` is the one that was opened.
    async fn finish(&self, outcome: Outcome, account: Option<Account>) -> Result<Requeue, ReconcileError> {
        let Outcome { status, event, progress, requeue } = outcome;
        let opened = account.is_some();
        match account {
            Some(account) => {
                let version = IssuerVersion::of(self.object);
                self.context.accounts.put(self.key.clone(), version, account);
            }
            None => self.context.accounts.forget(&self.key),
        }
        // Before the write, which may fail: the request is not repeated immediately.
        if let Some(progress) = progress {
            self.context.memory.issuers.put(self.uid.clone(), progress);
        }
        let old = Some(&self.status);
        self.context.kube.write_status(&self.api, self.manager, self.object, old, &status).await?;
        if let Some(event) = event {
            self.context.kube.publish(self.manager, &event, self.object, self.context.now());
        }
        if progress.is_none() {
            self.context.memory.issuers.forget(&self.uid);
        }
        if opened {
            // Not before the status has the URL: until then, it names the lost account.
            self.context.memory.lost_accounts.forget(&self.key);
        }
        Ok(requeue)
    }

    fn account_key(&self, key: LoadedKey) -> Result<AccountKey, ReconcileError> {
        let missing = || ReconcileError::Internal(format!("{} is registered without a key", self.key));
        key.key.map(AccountKey::new).ok_or_else(missing)
    }
}

impl LoadedKey {
    fn new(key: PrivateKey) -> Result<Self, ReconcileError> {
        Ok(Self { view: KeyView::Present { hash: AccountKey::hash_of(&key)? }, key: Some(key) })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use crds::fixtures;
    use hyper::StatusCode;
    use serde_json::{Value, json};
    use tokio::{net::TcpListener, time::sleep};

    use super::*;
    use crate::{k8s::testing, net::Proxy, pki::Curve};

    /// A proxy that closes every connection after a while, and counts them.
    async fn closing_proxy() -> (Proxy, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok(connection) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(100)).await;
                drop(connection);
            }
        });
        (Proxy::new(&format!("http://{address}"), "").expect("a proxy"), connections)
    }

    /// That the directory can't be fetched is remembered for a while, and a user who has changed something does not wait for that.
    #[tokio::test]
    async fn changed_issuer_fetches_the_directory_again() {
        let (proxy, connections) = closing_proxy().await;
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
        let secret =
            json!(objects::secret::account_key("a", "account-key", "tls.key", &key).expect("a Secret"));
        let issuer = |generation: i64| {
            fixtures::issuer("issuer", |it| {
                it.metadata.namespace = Some("a".to_owned());
                (it.metadata.uid, it.metadata.generation) = (Some("1".to_owned()), Some(generation));
            })
        };
        let written = json!(issuer(1));
        let client = testing::client(move |_, path, _| {
            let response: Value = if path.contains("/secrets/") { secret.clone() } else { written.clone() };
            async move { testing::json(StatusCode::OK, &response) }
        });
        let context = Context::for_test(client, proxy);
        let reconciled = async |issuer: Issuer| {
            reconcile(Arc::new(issuer), Arc::clone(&context)).await.expect("a requeue");
            connections.load(Ordering::Relaxed)
        };
        let first = reconciled(issuer(1)).await;
        assert!(first > 0, "the directory is fetched");
        assert!(reconciled(issuer(2)).await > first, "a user has changed the issuer");
    }
}
