//! Certificates: keeps a valid certificate in each one's Secret.

mod settled;

use std::{collections::BTreeMap, sync::Arc};

use crds::{
    acme::Order,
    certmanager::{Certificate, CertificateRequest, CertificateStatus, Pkcs12Profile as WireProfile},
    meta::SecretKeySelector,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

pub(super) use self::settled::enqueue_due;
use self::settled::with_version;
use super::ari;
use crate::{
    context::{Context, Lately, SecretRead},
    decision::{
        Requeue,
        certificate::{self, Action, Decision, DesiredCertificate, SecretView, View},
    },
    error::{ReconcileError, Tried},
    k8s::{self, is_newer},
    objects::{self, EventNote, metadata::controlled_by, names, secret, seen_secret::SeenSecret},
    pki::{self, Chain, Pkcs12Profile, PrivateKey},
};

/// Its name in metrics and logs: one controller in place of cert-manager's six.
pub(super) const NAME: &str = "certificates";

/// How many are looked at at once.
pub const MAX_CONCURRENT_RECONCILES: u16 = 32;

/// Who owns the fields of Secrets, as cert-manager has it: both can take over from one another.
const ISSUING: &str = "cert-manager-certificates-issuing";
const KEYS: &str = "cert-manager-certificates-key-manager";
const REQUESTS: &str = "cert-manager-certificates-request-manager";
const TRIGGER: &str = "cert-manager-certificates-trigger";

/// How long it is believed that a Secret is not there which nothing was heard of.
const ABSENCE: SignedDuration = SignedDuration::from_mins(1);

/// How many CertificateRequests of the past are looked for beyond those that are kept.
const HISTORY: i64 = 8;

pub(super) async fn reconcile(
    object: Arc<Certificate>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let reconciling = Reconciling { context: &context, certificate: &object };
    // Before anything is gathered: what changes from here on wakes it, and is not to be taken for what was decided on.
    let seen = reconciling.fingerprint();
    let version = object.metadata.resource_version.as_deref().unwrap_or_default();
    if reconciling.is_settled(with_version(seen, version)) {
        return Ok(Requeue::OnChange);
    }
    let decision = reconciling.gather_and_decide().await?;
    let (next, rest) = reconciling.apply(decision).await?;
    Ok(match rest {
        Some(version) => reconciling.settle(with_version(seen, &version), next),
        None => next,
    })
}

/// What came of an action.
enum ActionOutcome {
    /// All is as it shall be.
    Unchanged,
    /// The status was written, which gave the Certificate this resourceVersion.
    StatusWritten(String),
    /// Something else was done.
    Changed,
    /// It was done a moment ago and not heard of yet.
    AwaitingCache,
}

struct Reconciling<'a> {
    context: &'a Context,
    certificate: &'a Certificate,
}

impl Reconciling<'_> {
    fn namespace(&self) -> String {
        self.certificate.namespace().unwrap_or_default()
    }

    fn stored_secret(&self, name: &str) -> Option<Arc<SeenSecret>> {
        self.context.stores.secrets.get(&ObjectRef::new(name).within(&self.namespace()))
    }

    async fn gather_and_decide(&self) -> Result<Decision, ReconcileError> {
        let secret = self.secret().await?;
        let requests = self.requests();
        let next_key_name = self.next_key_name();
        let next_key = self.next_key(&next_key_name).await?;
        let order = self.order(&requests);
        let rivals = self.rivals();
        let past_key = certificate::past_key_name(self.certificate).filter(|name| self.is_key(name));
        let renewal_information = ari::look(self.context, self.certificate, secret.as_deref()).await;
        let known = renewal_information.as_ref();
        let look = ari::until_next_look(self.context, self.certificate, known, secret.as_deref());
        let mut decision = certificate::decide(&View {
            certificate: self.certificate,
            secret: secret.as_deref(),
            requests: &requests,
            order_reason: order.as_ref().and_then(|order| order.status.as_ref()?.reason.as_deref()),
            rivals: &rivals,
            next_key: (&next_key_name, next_key.as_deref()),
            past_key: past_key.as_deref(),
            renewal_information,
            backoff: self.context.settings.backoff,
            now: self.context.now(),
        });
        decision.requeue = decision.requeue.earliest(look.map_or(Requeue::Resync, Requeue::After));
        Ok(decision)
    }

    /// What stands in the Secret: read where it has changed since it was read last.
    async fn secret(&self) -> Result<Option<Arc<SecretView>>, ReconcileError> {
        let name = &self.certificate.spec.secret_name;
        let key = (self.namespace(), name.clone());
        let stored = self.stored_secret(name);
        match self.context.secret_reads.get(&key) {
            Some(SecretRead::Present { version, view })
                if view.is_watched() && stored.as_ref().is_none_or(|it| !is_newer(&it.version, &version)) =>
            {
                return Ok(Some(view));
            }
            Some(SecretRead::Absent { since })
                if stored.is_none() && self.context.now().duration_since(since) < ABSENCE =>
            {
                return Ok(None);
            }
            _ => {}
        }
        let read = self.context.api::<Secret>(&key.0).get_opt(name).await;
        let Some(secret) = read.tried(|| format!("read Secret {}/{name}", key.0))? else {
            self.context.secret_reads.put(key, SecretRead::Absent { since: self.context.now() });
            return Ok(None);
        };
        let view = Arc::new(SecretView::of(&secret));
        let version = secret.resource_version().unwrap_or_default();
        self.context.secret_reads.put(key, SecretRead::Present { version, view: Arc::clone(&view) });
        Ok(Some(view))
    }

    /// The CertificateRequests of the next revision, of the one in the Secret, and of some before.
    fn requests(&self) -> Vec<Arc<CertificateRequest>> {
        let (name, namespace) = (self.certificate.name_any(), self.namespace());
        let revision =
            self.certificate.status.as_ref().and_then(|status| status.revision).unwrap_or_default();
        let kept = i64::from(self.certificate.spec.revision_history_limit.unwrap_or(1));
        let oldest = revision.saturating_sub(kept.saturating_add(HISTORY)).max(1);
        (oldest..=revision.saturating_add(1))
            .filter_map(|revision| {
                let name = names::certificate_request(&name, revision);
                self.context.stores.requests.get(&ObjectRef::new(&name).within(&namespace))
            })
            .filter(|request| self.is_ours(&request.metadata))
            .collect()
    }

    fn owns(&self, secret: &SeenSecret) -> bool {
        let owner = secret.owner.as_ref().map(|owner| &*owner.uid);
        owner.is_some() && owner == self.certificate.metadata.uid.as_deref()
    }

    fn is_ours(&self, metadata: &kube::api::ObjectMeta) -> bool {
        controlled_by(metadata, "Certificate").map(|owner| owner.uid.as_str())
            == self.certificate.uid().as_deref()
    }

    /// The Order of the request that is under way.
    fn order(&self, requests: &[Arc<CertificateRequest>]) -> Option<Arc<Order>> {
        let request = requests.last()?;
        let name = names::order(&request.name_any(), &request.spec.request.0);
        self.context.stores.orders.get(&ObjectRef::new(&name).within(&self.namespace()))
    }

    fn rivals(&self) -> Vec<Arc<Certificate>> {
        let (name, namespace) = (self.certificate.name_any(), self.namespace());
        let secret = &self.certificate.spec.secret_name;
        let mut names = self.context.indexes.certificates_by_secret.names(&namespace, secret);
        names.retain(|other| *other != name);
        names.sort();
        let others = names.iter().filter_map(|name| {
            self.context.stores.certificates.get(&ObjectRef::new(name).within(&namespace))
        });
        others.filter(|other| other.spec.secret_name == *secret).collect()
    }

    /// Name of the Secret with the next key: that of an issuance that another operator began, or our own.
    fn next_key_name(&self) -> String {
        let begun =
            self.certificate.status.as_ref().and_then(|status| status.next_private_key_secret_name.clone());
        begun.filter(|name| self.is_key(name)).unwrap_or_else(|| certificate::next_key_name(self.certificate))
    }

    /// Whether a Secret with a key of this Certificate is there, and was not deleted a moment ago.
    fn is_key(&self, name: &str) -> bool {
        let deleted = (self.certificate.uid().unwrap_or_default(), name.to_owned());
        self.stored_secret(name).is_some_and(|secret| self.owns(&secret))
            && self.context.deleted_keys.get(&deleted).is_none()
    }

    /// The next key, where there is one: out of memory, or read once.
    async fn next_key(&self, name: &str) -> Result<Option<Arc<PrivateKey>>, ReconcileError> {
        let memory = (self.certificate.uid().unwrap_or_default(), name.to_owned());
        if let Some(key) = self.context.next_keys.get(&memory) {
            return Ok(Some(key));
        }
        let known = self.stored_secret(name).is_some();
        let named = self
            .certificate
            .status
            .as_ref()
            .is_some_and(|status| status.next_private_key_secret_name.is_some());
        if !known && !named {
            return Ok(None);
        }
        let key = self.read_next_key(name).await?;
        if let Some(key) = &key {
            self.context.next_keys.put(memory, Arc::clone(key));
        }
        Ok(key)
    }

    async fn read_next_key(&self, name: &str) -> Result<Option<Arc<PrivateKey>>, ReconcileError> {
        let value =
            self.context.secret_value(&self.namespace(), name, crds::annotations::secret::TLS_KEY).await?;
        // One that can't be read is made anew, under the same name once it is deleted.
        Ok(value.and_then(|value| PrivateKey::from_pem(&value).ok()).map(Arc::new))
    }

    /// Returns when to look again and, if nothing but the status was written, the version of the Certificate that is at rest.
    async fn apply(&self, decision: Decision) -> Result<(Requeue, Option<String>), ReconcileError> {
        let mut rest = self.certificate.resource_version();
        for action in decision.actions {
            match self.act(action).await? {
                ActionOutcome::Unchanged => {}
                ActionOutcome::StatusWritten(version) => rest = rest.map(|_| version),
                ActionOutcome::Changed => rest = None,
                ActionOutcome::AwaitingCache => return Ok((Requeue::After(Lately::MOMENT), None)),
            }
        }
        Ok((decision.requeue, rest))
    }

    async fn act(&self, action: Action) -> Result<ActionOutcome, ReconcileError> {
        match action {
            Action::EnsureNextKey { name, reuse } => self.ensure_next_key(&name, reuse).await?,
            Action::WriteStatus(status) => {
                return Ok(self
                    .write_status(&status)
                    .await?
                    .map_or(ActionOutcome::Unchanged, ActionOutcome::StatusWritten));
            }
            Action::CreateRequest { name, revision } => {
                if !self.create_request(&name, revision).await? {
                    return Ok(ActionOutcome::AwaitingCache);
                }
            }
            Action::DeleteRequest(name) => {
                let requests = self.context.api::<CertificateRequest>(&self.namespace());
                k8s::delete(&requests, &name, None).await?;
                self.context.lately.forget(&format!("{}/{name}", self.certificate.uid().unwrap_or_default()));
            }
            Action::WriteSecret { chain } => {
                let key = self.next_key(&self.next_key_name()).await?;
                let key =
                    key.ok_or_else(|| ReconcileError::NotYet("the next private key is gone".to_owned()))?;
                self.write_secret(&key, &chain).await?;
            }
            Action::WriteTemporary => self.write_temporary().await?,
            Action::RewriteSecret => self.rewrite_secret().await?,
            Action::DeleteNextKey(name) => {
                let secrets = self.context.api::<Secret>(&self.namespace());
                k8s::delete(&secrets, &name, None).await?;
                let key = (self.certificate.uid().unwrap_or_default(), name);
                self.context.next_keys.forget(&key);
                self.context.deleted_keys.put(key, ());
            }
            Action::Publish { issued, note } => {
                self.context.publish(if issued { ISSUING } else { TRIGGER }, &note, self.certificate);
            }
        }
        Ok(ActionOutcome::Changed)
    }

    /// Returns the resourceVersion that the Certificate has then, if its status was written.
    async fn write_status(&self, status: &CertificateStatus) -> Result<Option<String>, ReconcileError> {
        let api = self.context.api::<Certificate>(&self.namespace());
        self.context
            .write_status(&api, ISSUING, self.certificate, self.certificate.status.as_ref(), status)
            .await
    }

    async fn ensure_next_key(&self, name: &str, reuse: bool) -> Result<(), ReconcileError> {
        let desired = self.desired()?;
        let key = if reuse {
            let secret = &self.certificate.spec.secret_name;
            let value = self
                .context
                .secret_value(&self.namespace(), secret, crds::annotations::secret::TLS_KEY)
                .await?;
            let value = value.ok_or_else(|| ReconcileError::NotYet("the private key is gone".to_owned()))?;
            PrivateKey::from_pem(&value)?
        } else {
            self.context.make_key(desired.key).await?
        };
        let made = secret::next_private_key(name, self.certificate, &key)?;
        let secrets = self.context.api::<Secret>(&self.namespace());
        self.context.deleted_keys.forget(&(self.certificate.uid().unwrap_or_default(), name.to_owned()));
        let key = if k8s::create(&secrets, KEYS, &made).await?.is_some() {
            Arc::new(key)
        } else if let Some(made_before) = self.read_next_key(name).await? {
            // By a process that came no further.
            made_before
        } else {
            k8s::delete(&secrets, name, None).await?;
            return Err(ReconcileError::NotYet(format!("the Secret {name:?} held no private key")));
        };
        self.context.next_keys.put((self.certificate.uid().unwrap_or_default(), name.to_owned()), key);
        Ok(())
    }

    fn desired(&self) -> Result<DesiredCertificate, ReconcileError> {
        DesiredCertificate::of(&self.certificate.spec).map_err(ReconcileError::NotYet)
    }

    /// Returns whether it was made, or is there; else it was made a moment ago and not heard of yet.
    async fn create_request(&self, name: &str, revision: i64) -> Result<bool, ReconcileError> {
        let made = format!("{}/{name}", self.certificate.uid().unwrap_or_default());
        let now = self.context.now();
        if self.context.lately.is(&made, now) {
            return Ok(false);
        }
        let key_name = self.next_key_name();
        let key = self.next_key(&key_name).await?;
        let key = key.ok_or_else(|| ReconcileError::NotYet("the next private key is gone".to_owned()))?;
        let csr = self.desired()?.csr.sign_pem(&key)?;
        let mut request =
            objects::certificate_request::build(self.certificate, name, revision, &key_name, &csr);
        if let Some(replaces) = ari::replaced(self.context, self.certificate, self.secret().await?.as_deref())
        {
            request.annotations_mut().insert(crds::annotations::request::REPLACES.to_owned(), replaces);
        }
        let requests = self.context.api::<CertificateRequest>(&self.namespace());
        if k8s::create(&requests, REQUESTS, &request).await?.is_some() {
            self.context.lately.put(made, now);
            tracing::info!(request = name, revision, "asked for a certificate");
        }
        Ok(true)
    }

    async fn write_secret(&self, key: &PrivateKey, chain: &str) -> Result<(), ReconcileError> {
        let desired = self.desired()?;
        let namespace = self.namespace();
        let name = &self.certificate.spec.secret_name;
        let read =
            Chain::from_pem(chain.as_bytes()).map_err(|error| ReconcileError::NotYet(error.to_string()))?;
        let more = self.keystores(key, &read).await?;
        let mut secret =
            secret::certificate(self.certificate, read.leaf(), chain, key, desired.encoding, more)?;
        if self.context.settings.owns_secrets {
            secret.metadata.owner_references =
                objects::metadata::controller(self.certificate).map(|owner| vec![owner]);
        }
        let view = self.secret().await?;
        if let Some(type_) = view.as_ref().and_then(|view| view.type_.clone()) {
            // It can't be changed.
            secret.type_ = Some(type_);
        }
        let key = (namespace.clone(), name.clone());
        self.context.secret_reads.forget(&key);
        // What others have written is taken from them only where the Secret is known to be ours.
        let written =
            k8s::apply(&self.context.api::<Secret>(&namespace), ISSUING, &secret, view.is_some()).await?;
        let version = written.resource_version().unwrap_or_default();
        let view = Arc::new(SecretView::of(&written));
        self.context.secret_reads.put(key, SecretRead::Present { version, view });
        let not_after = read.leaf().not_after;
        tracing::info!(secret = name, %not_after, "wrote the certificate");
        Ok(())
    }

    async fn write_temporary(&self) -> Result<(), ReconcileError> {
        let desired = self.desired()?;
        let key = self.next_key(&self.next_key_name()).await?;
        let key = key.ok_or_else(|| ReconcileError::NotYet("the next private key is gone".to_owned()))?;
        let (names, addresses) = (&desired.csr.dns_names, &desired.csr.ip_addresses);
        let chain = pki::temporary(&key, names, addresses, self.context.now())?;
        self.write_secret(&key, &chain).await
    }

    /// Writes labels, annotations and further forms anew around the key and the chain that are there.
    async fn rewrite_secret(&self) -> Result<(), ReconcileError> {
        let (namespace, name) = (self.namespace(), &self.certificate.spec.secret_name);
        let secret = self.context.api::<Secret>(&namespace).get(name).await;
        let secret = secret.tried(|| format!("read Secret {namespace}/{name}"))?;
        let data = secret.data.unwrap_or_default();
        let of = |key: &str| data.get(key).map(|value| value.0.clone()).unwrap_or_default();
        let key = zeroize::Zeroizing::new(of(crds::annotations::secret::TLS_KEY));
        let key = PrivateKey::from_pem(&key)?;
        let chain = String::from_utf8_lossy(&of(crds::annotations::secret::TLS_CRT)).into_owned();
        self.write_secret(&key, &chain).await
    }

    async fn keystores(
        &self,
        key: &PrivateKey,
        chain: &Chain,
    ) -> Result<BTreeMap<String, Vec<u8>>, ReconcileError> {
        let mut stores = BTreeMap::new();
        let Some(wanted) = &self.certificate.spec.keystores else { return Ok(stores) };
        if let Some(jks) = wanted.jks.as_ref().filter(|store| store.create) {
            let password = self.password(jks.password.as_ref(), jks.password_secret_ref.as_ref()).await?;
            let alias = jks.alias.as_deref().filter(|alias| !alias.is_empty()).unwrap_or("certificate");
            let now: Timestamp = self.context.now();
            stores.insert(secret::JKS.to_owned(), pki::jks(&password, alias, key, chain, now)?);
        }
        if let Some(pkcs12) = wanted.pkcs12.as_ref().filter(|store| store.create) {
            let password =
                self.password(pkcs12.password.as_ref(), pkcs12.password_secret_ref.as_ref()).await?;
            let profile = match pkcs12.profile {
                Some(WireProfile::LegacyDES) => Pkcs12Profile::LegacyDes,
                Some(WireProfile::Modern2023) => Pkcs12Profile::Modern2023,
                Some(WireProfile::Modern2026) => Pkcs12Profile::Modern2026,
                Some(WireProfile::LegacyRC2) | None => Pkcs12Profile::LegacyRc2,
            };
            stores.insert(secret::PKCS12.to_owned(), pki::pkcs12(profile, &password, key, chain)?);
        }
        Ok(stores)
    }

    async fn password(
        &self,
        literal: Option<&String>,
        reference: Option<&SecretKeySelector>,
    ) -> Result<String, ReconcileError> {
        let Some(reference) = reference else { return Ok(literal.cloned().unwrap_or_default()) };
        let key = reference.key.as_deref().unwrap_or_default();
        let value = self.context.secret_value(&self.namespace(), &reference.name, key).await?;
        if let Some(password) = value.and_then(|value| String::from_utf8(value.to_vec()).ok()) {
            return Ok(password);
        }
        let message = format!(
            "the Secret {:?} with the key store's password has no text under {key:?}: create it, and the key store is made",
            reference.name
        );
        let note = EventNote::warning("KeystorePasswordSecretNotFound", &*message);
        self.context.publish(ISSUING, &note, self.certificate);
        Err(ReconcileError::NotYet(message))
    }
}
