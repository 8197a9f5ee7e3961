//! Reads what a decision depends on.

use std::sync::Arc;

use crds::{
    acme::Order,
    certmanager::{Certificate, CertificateRequest},
};
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{super::ari, Reconciling};
use crate::{
    decision::{
        Requeue,
        certificate::{self, Decision, View},
    },
    error::ReconcileError,
    objects::{metadata::controlled_by, names, seen_secret::SeenSecret},
    pki::PrivateKey,
};

/// How many CertificateRequests of the past are looked for beyond those that are kept.
const HISTORY: i64 = 8;

impl Reconciling<'_> {
    pub(super) async fn gather_and_decide(&self) -> Result<Decision, ReconcileError> {
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

    /// The CertificateRequests of the next revision, of the one in the Secret, and of some before.
    pub(super) fn requests(&self) -> Vec<Arc<CertificateRequest>> {
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

    pub(super) fn owns(&self, secret: &SeenSecret) -> bool {
        let owner = secret.owner.as_ref().map(|owner| &*owner.uid);
        owner.is_some() && owner == self.certificate.metadata.uid.as_deref()
    }

    pub(super) fn is_ours(&self, metadata: &kube::api::ObjectMeta) -> bool {
        controlled_by(metadata, "Certificate").map(|owner| owner.uid.as_str())
            == self.certificate.uid().as_deref()
    }

    /// The Order of the request that is under way.
    pub(super) fn order(&self, requests: &[Arc<CertificateRequest>]) -> Option<Arc<Order>> {
        let request = requests.last()?;
        let name = names::order(&request.name_any(), &request.spec.request.0);
        self.context.stores.orders.get(&ObjectRef::new(&name).within(&self.namespace()))
    }

    pub(super) fn rivals(&self) -> Vec<Arc<Certificate>> {
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
    pub(super) fn next_key_name(&self) -> String {
        let begun =
            self.certificate.status.as_ref().and_then(|status| status.next_private_key_secret_name.clone());
        begun.filter(|name| self.is_key(name)).unwrap_or_else(|| certificate::next_key_name(self.certificate))
    }

    /// Whether a Secret with a key of this Certificate is there, and was not deleted a moment ago.
    pub(super) fn is_key(&self, name: &str) -> bool {
        let deleted = (self.certificate.uid().unwrap_or_default(), name.to_owned());
        self.stored_secret(name).is_some_and(|secret| self.owns(&secret))
            && self.context.deleted_keys.get(&deleted).is_none()
    }

    /// The next key, where there is one: out of memory, or read once.
    pub(super) async fn next_key(&self, name: &str) -> Result<Option<Arc<PrivateKey>>, ReconcileError> {
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

    pub(super) async fn read_next_key(&self, name: &str) -> Result<Option<Arc<PrivateKey>>, ReconcileError> {
        let value =
            self.context.secret_value(&self.namespace(), name, crds::annotations::secret::TLS_KEY).await?;
        // One that can't be read is made anew, under the same name once it is deleted.
        Ok(value.and_then(|value| PrivateKey::from_pem(&value).ok()).map(Arc::new))
    }
}
