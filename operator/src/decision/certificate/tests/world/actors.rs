//! What users and the CA do.

use crds::certmanager::CertificateRequestStatus;
use k8s_openapi::{
    ByteString,
    apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry},
};

use super::*;
use crate::pki;

impl World {
    pub(in super::super) fn edit_spec(&mut self) {
        let generation = self.certificate.metadata.generation.get_or_insert_default();
        *generation += 1;
        self.certificate.spec.dns_names = Some(vec![format!("w{generation}.example.test")]);
    }

    /// A user changes what the operator manages in the Secret, if it exists.
    pub(in super::super) fn edit_secret(&mut self) {
        if let Some(secret) = &mut self.secret {
            secret.annotations_mut().insert("cert-manager.io/alt-names".to_owned(), "other".to_owned());
        }
    }

    /// The operator's field manager owns these fields of the Secret.
    pub(in super::super) fn manage(&mut self, fields: serde_json::Value) {
        let entry = ManagedFieldsEntry {
            manager: Some(objects::secret::FIELD_MANAGER.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        };
        self.secret.as_mut().expect("a Secret").metadata.managed_fields = Some(vec![entry]);
    }

    /// Whether the CA has a request to respond to.
    pub(in super::super) fn has_pending_request(&self) -> bool {
        let pending = self.requests.last().is_some_and(|request| request.status.is_none());
        pending && self.next_key().is_some()
    }

    /// The latest request gets a status.
    pub(in super::super) fn complete(&mut self, change: impl FnOnce(&mut CertificateRequestStatus)) {
        let request = self.requests.pop().expect("a request");
        let mut request = (*request).clone();
        change(request.status.get_or_insert_default());
        self.requests.push(Arc::new(request));
    }

    /// The CA issues what the latest request asks for, for 90 days.
    pub(in super::super) fn issue(&mut self) {
        let key = Arc::clone(self.next_key().expect("a key"));
        let csr = &self.requests.last().expect("a request").spec.request.0;
        let names = Csr::from_pem(csr).expect("a CSR").dns_names;
        self.issue_for(&key, &names, hours(90 * 24));
    }

    pub(in super::super) fn issue_for(
        &mut self,
        key: &PrivateKey,
        names: &[String],
        lifetime: SignedDuration,
    ) {
        let chain = pki::testing::issue(key, names, self.now, lifetime);
        self.complete(|status| {
            status.certificate = Some(ByteString(chain.into_bytes()));
            status.conditions.push(condition_of(condition::READY, ConditionStatus::True, "Issued", ""));
        });
    }

    pub(in super::super) fn fail(&mut self, message: &str) {
        let time = condition::whole_seconds(self.now);
        self.complete(|status| {
            status.failure_time = Some(time);
            status.conditions.push(condition_of(condition::READY, ConditionStatus::False, "Failed", message));
        });
    }

    pub(in super::super) fn wait(&mut self, duration: SignedDuration) {
        self.now += duration;
    }
}
