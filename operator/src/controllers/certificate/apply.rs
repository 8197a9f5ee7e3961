//! Performs the actions of a decision.

use std::sync::Arc;

use crds::certmanager::{Certificate, CertificateRequest, CertificateStatus};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::{super::ari, ActionOutcome, ISSUING, KEYS, REQUESTS, Reconciling, TRIGGER};
use crate::{
    context::Lately,
    decision::{
        Requeue,
        certificate::{Action, Decision, DesiredCertificate},
    },
    error::ReconcileError,
    k8s,
    objects::{self, secret},
    pki::PrivateKey,
};

impl Reconciling<'_> {
    /// Returns when to look again and, if nothing but the status was written, the version of the Certificate that is at rest.
    pub(super) async fn apply(
        &self,
        decision: Decision,
    ) -> Result<(Requeue, Option<String>), ReconcileError> {
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

    pub(super) async fn act(&self, action: Action) -> Result<ActionOutcome, ReconcileError> {
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
    pub(super) async fn write_status(
        &self,
        status: &CertificateStatus,
    ) -> Result<Option<String>, ReconcileError> {
        let api = self.context.api::<Certificate>(&self.namespace());
        self.context
            .write_status(&api, ISSUING, self.certificate, self.certificate.status.as_ref(), status)
            .await
    }

    pub(super) async fn ensure_next_key(&self, name: &str, reuse: bool) -> Result<(), ReconcileError> {
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

    pub(super) fn desired(&self) -> Result<DesiredCertificate, ReconcileError> {
        DesiredCertificate::parse(&self.certificate.spec).map_err(ReconcileError::NotYet)
    }

    /// Returns whether it was made, or is there; else it was made a moment ago and not heard of yet.
    pub(super) async fn create_request(&self, name: &str, revision: i64) -> Result<bool, ReconcileError> {
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
}
