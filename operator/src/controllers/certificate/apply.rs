//! Performs the actions of a decision. Chooses nothing: each action carries all that it needs.

use std::sync::Arc;

use crds::{
    annotations::request::REPLACES,
    certmanager::{Certificate, CertificateRequest, CertificateStatus},
};
use kube::ResourceExt;

use super::{ISSUING_MANAGER, REQUEST_MANAGER, Reconciler, TRIGGER_MANAGER, publish, slow};
use crate::{
    decision::{
        Requeue,
        certificate::{Action, CertificateChain, Decision, EventSource, Finding, Pace, RequestPlan},
        retry::EXPECTATION_TTL,
    },
    error::ReconcileError,
    k8s::{self, Requester},
    objects, pki,
};

/// What a decision has led to.
pub(super) struct Applied {
    pub(super) requeue: Requeue,
    /// The resourceVersion of the Certificate, if nothing but its status was written: deciding again gives the same result.
    pub(super) settled_version: Option<String>,
}

/// What an action has led to.
enum ActionOutcome {
    /// Nothing that a decision depends on has changed.
    Unchanged,
    /// The status was written, which gave the Certificate this resourceVersion.
    StatusWritten(String),
    /// Another object was written.
    Changed,
    /// It was done before, and the cache does not show it yet.
    AwaitingCache,
}

impl Reconciler<'_> {
    pub(super) async fn apply(&self, decision: Decision) -> Result<Applied, ReconcileError> {
        let Decision { actions, requeue, waiting_for } = decision;
        let mut settled_version = self.certificate.resource_version();
        for action in actions {
            match self.perform(action).await? {
                ActionOutcome::Unchanged => {}
                ActionOutcome::StatusWritten(version) => settled_version = settled_version.map(|_| version),
                ActionOutcome::Changed => settled_version = None,
                ActionOutcome::AwaitingCache => {
                    return Ok(Applied { requeue: Requeue::After(EXPECTATION_TTL), settled_version: None });
                }
            }
        }
        match waiting_for {
            Some(dependency) => Err(ReconcileError::Waiting { what: dependency.what, why: dependency.why }),
            None => Ok(Applied { requeue, settled_version }),
        }
    }

    async fn perform(&self, action: Action) -> Result<ActionOutcome, ReconcileError> {
        match action {
            Action::WriteStatus(status) => return self.write_status(&status).await,
            Action::WriteTemporary { plan, dns_names, ip_addresses } => {
                let (key, now) = (Arc::clone(&plan.key), self.context.now());
                let sign = move || pki::temporary(&key, &dns_names, &ip_addresses, now);
                let pem = slow::run(plan.key.is_slow(), sign).await??;
                let chain = CertificateChain::from_pem(pem)
                    .map_err(|error| ReconcileError::Internal(error.to_string()))?;
                self.write_secret(*plan, &chain).await?;
                tracing::info!(secret = self.certificate.spec.secret_name, "wrote a temporary certificate");
            }
            Action::CreateRequest(plan) => return self.create_request(*plan).await,
            Action::DeleteRequest(name) => {
                let requests = self.context.kube.api::<CertificateRequest>(&self.namespace());
                let seen = self.context.cache.requests.get(&self.namespace(), &name).and_then(|it| it.uid());
                // The cache may still show one that was just deleted.
                let deleted = format!("delete {}", seen.as_deref().unwrap_or_default());
                let expectations = &self.context.memory.expectations;
                if seen.is_some() && expectations.is_pending(&deleted, self.context.now()) {
                    // Not settled: its deletion is a change that is still to come.
                    return Ok(ActionOutcome::Changed);
                }
                k8s::delete(&requests, &name, seen).await?;
                expectations.expect(deleted, self.context.now());
                expectations.forget(&self.request_id(&name));
            }
            Action::WriteSecret { plan, chain, why } => {
                self.write_secret(*plan, &chain).await?;
                let secret = &self.certificate.spec.secret_name;
                let not_after = chain.parsed().leaf().not_after;
                let Finding { reason, message: why } = why;
                tracing::info!(secret, %not_after, reason = reason.as_str(), why, "wrote the certificate Secret");
            }
            Action::DeleteNextKey(name) => self.delete_next_key(&name).await?,
            Action::Publish { source, note } => {
                let source = match source {
                    EventSource::Trigger => TRIGGER_MANAGER,
                    EventSource::Issuing => ISSUING_MANAGER,
                };
                publish(source, &note, self.certificate, self.context);
                return Ok(ActionOutcome::Unchanged);
            }
        }
        Ok(ActionOutcome::Changed)
    }

    async fn write_status(&self, status: &CertificateStatus) -> Result<ActionOutcome, ReconcileError> {
        let api = self.context.kube.api::<Certificate>(&self.namespace());
        let written = self
            .context
            .kube
            .write_status(&api, ISSUING_MANAGER, self.certificate, self.certificate.status.as_ref(), status)
            .await?;
        Ok(written.map_or(ActionOutcome::Unchanged, ActionOutcome::StatusWritten))
    }

    async fn create_request(&self, plan: RequestPlan) -> Result<ActionOutcome, ReconcileError> {
        let RequestPlan { name, revision, key, key_secret_name, csr, cause, replaces } = plan;
        let id = self.request_id(&name);
        if self.context.memory.expectations.is_pending(&id, self.context.now()) {
            return Ok(ActionOutcome::AwaitingCache);
        }
        let csr = slow::run(key.is_slow(), move || csr.sign_pem(&key)).await??;
        let mut request =
            objects::certificate_request::build(self.certificate, &name, revision, &key_secret_name, &csr);
        request.annotations_mut().extend(replaces.map(|identifier| (REPLACES.to_owned(), identifier)));
        if let Some(requester) = self.context.kube.requester().await? {
            let Requester { username, uid, groups } = (*requester).clone();
            (request.spec.username, request.spec.uid) =
                (Some(username), Some(uid).filter(|uid| !uid.is_empty()));
            request.spec.groups = Some(groups).filter(|groups| !groups.is_empty());
        }
        let requests = self.context.kube.api::<CertificateRequest>(&self.namespace());
        if k8s::create(&requests, REQUEST_MANAGER, &request).await?.is_some() {
            // After the request, which may have taken a while: the watch has had no time before.
            let now = self.context.now();
            self.context.memory.expectations.expect(id, now);
            let pace = Pace::after(self.pace(&self.requests()), revision, cause, now);
            self.context.memory.paces.put(self.uid(), pace);
            tracing::info!(request = name, revision, "created CertificateRequest");
        } else if self.context.cache.requests.get(&self.namespace(), &name).is_some() {
            return Err(ReconcileError::Waiting {
                what: format!("the name of the CertificateRequest {name:?}"),
                why: "it belongs to something else, or to no revision. Delete it".to_owned(),
            });
        }
        Ok(ActionOutcome::Changed)
    }

    /// The key of the expectation that a created request shows up in the cache.
    pub(super) fn request_id(&self, name: &str) -> String {
        format!("{}/{name}", self.uid())
    }
}
