//! Issuers and ClusterIssuers: makes their keys, finds their accounts, says whether they can be used.

use std::{fmt::Debug, sync::Arc, time::Duration};

use crds::{
    acme::{AcmeIssuer, AcmeIssuerStatus},
    annotations::issuer::NEW_ORDERS_PER_3_HOURS,
    certmanager::{ClusterIssuer, Issuer, IssuerStatus},
    condition::{self, Condition, ConditionStatus},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::{
    accounts::{IssuerKey, IssuerVersion},
    acme::{Account, AccountKey, AcmeError, Class, ExternalAccountKey},
    context::Context,
    decision::{
        Requeue,
        issuer::{self, KeyView, Step, contact},
        limits::number_of_orders,
    },
    error::ReconcileError,
    k8s,
    objects::{self, EventNote},
    pki::{KeyKind, PrivateKey},
};

/// Their names, as cert-manager's metrics have them.
pub(super) const NAME: &str = "issuers";
pub(super) const CLUSTER_NAME: &str = "clusterissuers";

/// What a new account's key is: what cert-manager reads too.
const ACCOUNT_KEY: KeyKind = KeyKind::Rsa { bits: 2048 };

/// How long an issuer waits that the server refuses, or that lacks something: what is wrong may be mended where nobody tells.
const REFUSED: Duration = Duration::from_mins(5);

pub(super) async fn reconcile(object: Arc<Issuer>, context: Arc<Context>) -> Result<Requeue, ReconcileError> {
    let namespace = object.namespace().unwrap_or_default();
    let Some(acme) = object.spec.acme.clone() else { return Ok(Requeue::Resync) };
    let key = IssuerKey { namespace: Some(namespace.clone()), name: object.name_any() };
    let api = context.kube.api(&namespace);
    let status = object.status.clone().unwrap_or_default();
    Reconciling {
        context: &context,
        object: &*object,
        api,
        key,
        acme,
        status,
        namespace,
        manager: "cert-manager-issuers",
    }
    .reconcile()
    .await
}

pub(super) async fn reconcile_cluster(
    object: Arc<ClusterIssuer>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let Some(acme) = object.spec.acme.clone() else { return Ok(Requeue::Resync) };
    let key = IssuerKey { namespace: None, name: object.name_any() };
    let api = Api::all(context.kube.client.clone());
    let status = object.status.clone().unwrap_or_default();
    let namespace = context.settings.cluster_resource_namespace.clone();
    let manager = "cert-manager-clusterissuers";
    Reconciling { context: &context, object: &*object, api, key, acme, status, namespace, manager }
        .reconcile()
        .await
}

struct Reconciling<'a, K> {
    context: &'a Context,
    object: &'a K,
    api: Api<K>,
    key: IssuerKey,
    acme: AcmeIssuer,
    status: IssuerStatus,
    /// Where its Secrets are.
    namespace: String,
    manager: &'static str,
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
        if self.context.memory.lost_accounts.forget(&self.key).is_some() {
            // What is known of it is not so.
            return self.renew().await;
        }
        self.check_annotation();
        let mut key = self.context.account_key(&self.acme, &self.namespace).await?;
        let generation = self.object.meta().generation;
        if issuer::decide(&self.acme, &self.status, generation, &view(key.as_ref())?) == Step::GenerateKey {
            key = self.generate_key().await?;
        }
        match (issuer::decide(&self.acme, &self.status, generation, &view(key.as_ref())?), key) {
            (Step::Nothing, Some(Ok(key))) => {
                let uri = self.status.acme.as_ref().and_then(|acme| acme.uri.clone()).unwrap_or_default();
                let server = self.context.accounts.server(&self.acme)?;
                let version = IssuerVersion::of(self.object);
                if self.context.accounts.get(&self.key, &version).is_none() {
                    let account = Account::from_url(server, Arc::new(AccountKey::new(key)), uri);
                    self.context.accounts.put(self.key.clone(), version, account);
                }
                Ok(Requeue::Resync)
            }
            (Step::Register, Some(Ok(key))) => self.register(key).await,
            (Step::Refuse { reason, message }, _) => {
                self.refuse(reason, message, Requeue::After(REFUSED)).await
            }
            // The key has just been made or is there: nothing else can be decided.
            (Step::Nothing | Step::Register | Step::GenerateKey, _) => {
                Ok(Requeue::After(Duration::from_secs(1)))
            }
        }
    }

    fn check_annotation(&self) {
        let value = self.object.annotations().get(NEW_ORDERS_PER_3_HOURS);
        if let Some(value) = value.filter(|value| number_of_orders(value).is_none()) {
            tracing::warn!(
                annotation = NEW_ORDERS_PER_3_HOURS,
                value,
                "no number above zero, so it has no effect"
            );
        }
    }

    /// Looks the account up that was lost, or makes it again with the same key.
    async fn renew(self) -> Result<Requeue, ReconcileError> {
        match self.context.account_key(&self.acme, &self.namespace).await? {
            Some(Ok(key)) => self.register(key).await,
            _ => Ok(Requeue::After(Duration::from_secs(1))),
        }
    }

    /// Makes the account's key, unless somebody else has meanwhile.
    async fn generate_key(&self) -> Result<Option<Result<PrivateKey, crate::pki::KeyError>>, ReconcileError> {
        let key = self.context.keys.generate(ACCOUNT_KEY).await?;
        let reference = &self.acme.private_key_secret_ref;
        let data_key = reference.key.as_deref().filter(|key| !key.is_empty()).unwrap_or("tls.key");
        let secret = objects::secret::account_key(&self.namespace, &reference.name, data_key, &key)?;
        if k8s::create(&self.context.kube.api::<Secret>(&self.namespace), self.manager, &secret)
            .await?
            .is_some()
        {
            return Ok(Some(Ok(key)));
        }
        self.context.account_key(&self.acme, &self.namespace).await
    }

    async fn register(self, key: PrivateKey) -> Result<Requeue, ReconcileError> {
        let key = Arc::new(AccountKey::new(key));
        let email = contact(&self.acme);
        let external = match self.external_account().await? {
            Ok(external) => external,
            Err(message) => {
                return self.refuse("ErrRegisterACMEAccount", message, Requeue::After(REFUSED)).await;
            }
        };
        let account = match self.find(&key, &email, external.as_ref()).await {
            Ok(account) => account,
            Err((reason, what, error)) => {
                let (words, after) = explained(&error);
                let advice = issuer::advice(error.problem_type(), external.is_some());
                return self.refuse(reason, format!("{what}: {words}{advice}"), after).await;
            }
        };
        let mut status = self.status.clone();
        status.acme = Some(AcmeIssuerStatus {
            last_private_key_hash: Some(key.private_key_hash()?),
            last_registered_email: Some(email).filter(|email| !email.is_empty()),
            uri: Some(account.url().to_owned()),
        });
        let message = "The ACME account was registered with the ACME server";
        self.set_ready(&mut status, ConditionStatus::True, "ACMEAccountRegistered", message.to_owned());
        self.context.accounts.put(self.key.clone(), IssuerVersion::of(self.object), account);
        self.write(&status).await?;
        Ok(Requeue::Resync)
    }

    /// Finds the account or makes it, and tells the server whom to write to.
    async fn find(
        &self,
        key: &Arc<AccountKey>,
        email: &str,
        external: Option<&ExternalAccountKey>,
    ) -> Result<Account, (&'static str, &'static str, AcmeError)> {
        let refused = |error| ("ErrRegisterACMEAccount", "Failed to register ACME account", error);
        let contact = if email.is_empty() { Vec::new() } else { vec![format!("mailto:{email}")] };
        let server = self.context.accounts.server(&self.acme).map_err(refused)?;
        let mut account =
            Account::find_or_create(server, Arc::clone(key), &contact, external).await.map_err(refused)?;
        let known = self.status.acme.as_ref().and_then(|acme| acme.last_registered_email.as_deref());
        // A server that tells no contacts is told where ours has changed.
        let changed = known.is_some_and(|known| known != email);
        let differs = !account.contact().is_empty() && account.contact() != contact;
        if changed || differs {
            let refused = |error| ("ErrUpdateACMEAccount", "Failed to update ACME account", error);
            account.update_contact(&contact).await.map_err(refused)?;
        }
        Ok(account)
    }

    /// The account that the user has with the CA already; the inner error is for people.
    async fn external_account(&self) -> Result<Result<Option<ExternalAccountKey>, String>, ReconcileError> {
        let Some(binding) = &self.acme.external_account_binding else { return Ok(Ok(None)) };
        let reference = &binding.key_secret_ref;
        let data_key = reference.key.as_deref().unwrap_or_default();
        let value = self.context.kube.secret_value(&self.namespace, &reference.name, data_key).await?;
        Ok(match value {
            None => Err(format!(
                "Failed to register ACME account: the Secret {:?} in the namespace {:?} with the MAC key of \
                 externalAccountBinding has no value under {data_key:?}: create it as the CA told it",
                reference.name, self.namespace
            )),
            Some(value) => ExternalAccountKey::new(binding.key_id.clone(), &value)
                .map(Some)
                .map_err(|error| format!("Failed to register ACME account: {error}")),
        })
    }

    async fn refuse(
        self,
        reason: &'static str,
        message: String,
        again: Requeue,
    ) -> Result<Requeue, ReconcileError> {
        let mut status = self.status.clone();
        self.context.accounts.forget(&self.key);
        self.set_ready(&mut status, ConditionStatus::False, reason, message.clone());
        if self.write(&status).await? {
            let note = EventNote::warning(reason, message);
            self.context.kube.publish(self.manager, &note, self.object);
        }
        Ok(again)
    }

    fn set_ready(&self, status: &mut IssuerStatus, ready: ConditionStatus, reason: &str, message: String) {
        let new = Condition {
            type_: condition::READY.to_owned(),
            status: ready,
            reason: Some(reason.to_owned()),
            message: Some(message),
            observed_generation: self.object.meta().generation,
            last_transition_time: None,
        };
        condition::set(&mut status.conditions, new, self.context.now());
    }

    /// Returns whether anything differed.
    async fn write(&self, status: &IssuerStatus) -> Result<bool, ReconcileError> {
        let old = Some(&self.status);
        let written =
            self.context.kube.write_status(&self.api, self.manager, self.object, old, status).await?;
        Ok(written.is_some())
    }
}

fn view(key: Option<&Result<PrivateKey, crate::pki::KeyError>>) -> Result<KeyView, ReconcileError> {
    Ok(match key {
        None => KeyView::Absent,
        Some(Err(error)) => KeyView::Invalid(error.to_string()),
        Some(Ok(key)) => KeyView::Present { hash: AccountKey::hash_of(key)? },
    })
}

/// What to tell, and when to try again.
fn explained(error: &AcmeError) -> (String, Requeue) {
    match error.class() {
        Class::Transient => (error.to_string(), Requeue::After(Duration::from_secs(15))),
        Class::RateLimited { retry_after } => {
            let wait = retry_after.unwrap_or(Duration::from_mins(1)).max(Duration::from_secs(1));
            (error.to_string(), Requeue::After(wait))
        }
        Class::Fatal | Class::Refused => (error.to_string(), Requeue::After(REFUSED)),
    }
}
