//! The steps of an issuance: key, request, and what comes of it.

use std::{sync::Arc, time::Duration};

use crds::{
    annotations,
    certmanager::CertificateRequest,
    condition::{self, ConditionStatus},
};
use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    Action, Deciding, DesiredCertificate, Finding, Part, SecretView, next_revision, outcome::Outcome,
};
use crate::{
    decision::Requeue,
    objects::names,
    pki::{Chain, Csr},
};

impl Deciding<'_> {
    /// A new certificate is needed: begins, unless one failed a short while ago.
    pub(super) fn start_issuance(&mut self, desired: &DesiredCertificate, finding: &Finding) {
        if let Some(wait) = self.backoff(desired) {
            self.requeue = Requeue::After(wait);
            self.delete_next_key();
            return self.write_status();
        }
        self.set_condition(
            condition::ISSUING,
            ConditionStatus::True,
            finding.reason,
            finding.message.clone(),
        );
        self.publish(false, false, "Issuing", &finding.message);
        self.advance_issuance(desired);
    }

    /// How long the last failure still holds up the next attempt. A spec that has changed since is tried at once.
    fn backoff(&self, desired: &DesiredCertificate) -> Option<Duration> {
        let failed = self.status.last_failure_time.as_ref()?.0;
        let changed = self.next_request().is_some_and(|request| !self.matches_spec(desired, &request));
        let attempts = self.status.failed_issuance_attempts.unwrap_or(1);
        let next = self.view.backoff.next_attempt(failed, attempts);
        if changed { None } else { until(next, self.view.now) }
    }

    /// The CertificateRequest of the issuance that is under way, or that failed last.
    fn next_request(&self) -> Option<Arc<CertificateRequest>> {
        self.request(next_revision(self.view.certificate))
    }

    fn matches_spec(&self, desired: &DesiredCertificate, request: &CertificateRequest) -> bool {
        Csr::from_pem(&request.spec.request.0)
            .is_ok_and(|csr| desired.differs_from_request(self.view.certificate, request, &csr).is_empty())
    }

    /// An issuance is under way: takes its next step.
    pub(super) fn advance_issuance(&mut self, desired: &DesiredCertificate) {
        let Some(request) = self.next_request() else { return self.request_issuance(desired) };
        let issuing_since = condition::find(&self.status.conditions, condition::ISSUING)
            .and_then(|issuing| issuing.last_transition_time.as_ref())
            .map_or(self.view.now, |time| time.0);
        let outcome = Outcome::of(&request);
        let of_the_past = matches!(outcome, Outcome::Failed { .. })
            && request
                .status
                .as_ref()
                .and_then(|status| status.failure_time.as_ref())
                .is_some_and(|time| time.0 < issuing_since);
        let has_key = self.view.next_key.1.is_some_and(|key| {
            Csr::from_pem(&request.spec.request.0)
                .is_ok_and(|csr| key.public_key_der().is_ok_and(|der| der == csr.public_key_der))
        });
        if of_the_past || !has_key || !self.matches_spec(desired, &request) {
            // Its end wakes us, and another one is made.
            self.write_status();
            self.actions.push(Action::DeleteRequest(request.name_any()));
            return;
        }
        match outcome {
            Outcome::Pending(message) => {
                let problem = self.view.order_reason.or(message.as_deref());
                if let Some(problem) = problem.map(ToOwned::to_owned) {
                    let reason = condition::find(&self.status.conditions, condition::ISSUING)
                        .and_then(|issuing| issuing.reason.clone())
                        .unwrap_or_default();
                    self.set_condition(condition::ISSUING, ConditionStatus::True, &reason, problem);
                }
                self.write_status();
            }
            Outcome::Failed { reason, message } => {
                let time = request.status.as_ref().and_then(|status| status.failure_time.as_ref());
                self.fail_issuance(time.map_or(self.view.now, |time| time.0), &reason, &message);
            }
            Outcome::Issued(chain) => self.complete_issuance(desired, &chain),
        }
    }

    /// Asks for a certificate. The key is durable before anybody is asked.
    fn request_issuance(&mut self, desired: &DesiredCertificate) {
        let (name, key) = self.view.next_key;
        if key.is_none() {
            let mut reuse = false;
            if let (false, Some(Part::Valid(key))) =
                (desired.rotate, self.view.secret.map(|secret| &secret.key))
            {
                let differences = desired.differs_from_key(key.kind);
                if !differences.is_empty() {
                    let message = format!(
                        "the private key in the Secret does not fit [{}], and spec.privateKey.rotationPolicy is Never: \
                         set it to Always, or delete the Secret, to get a new key",
                        differences.join(" ")
                    );
                    if !self.is_issuing_with(&message) {
                        self.publish(false, true, "CannotRegenerateKey", &message);
                    }
                    let reason = "CannotRegenerateKey";
                    self.set_condition(condition::ISSUING, ConditionStatus::True, reason, message);
                    return self.write_status();
                }
                reuse = true;
            }
            self.actions.push(Action::EnsureNextKey { name: name.to_owned(), reuse });
        }
        self.status.next_private_key_secret_name = Some(name.to_owned());
        self.write_status();
        if self.needs_temporary() {
            self.actions.push(Action::WriteTemporary);
            self.publish(true, false, "Issuing", "Issued temporary certificate");
        }
        let revision = next_revision(self.view.certificate);
        let name = names::certificate_request(&self.view.certificate.name_any(), revision);
        self.actions.push(Action::CreateRequest { name, revision });
    }

    /// Whether an ingress controller needs something to serve until the certificate is there.
    fn needs_temporary(&self) -> bool {
        let asked =
            self.view.certificate.annotations().get(annotations::request::ISSUE_TEMPORARY_CERTIFICATE);
        asked.is_some_and(|value| value == "true") && self.view.secret.and_then(SecretView::leaf).is_none()
    }

    fn is_issuing_with(&self, message: &str) -> bool {
        condition::find(&self.status.conditions, condition::ISSUING)
            .is_some_and(|issuing| issuing.message.as_deref() == Some(message))
    }

    fn complete_issuance(&mut self, desired: &DesiredCertificate, chain: &[u8]) {
        let key = self.view.next_key.1;
        let checked = Chain::from_pem(chain).and_then(|chain| {
            if let Some(key) = key {
                chain.check(key, &desired.csr.dns_names, &desired.csr.ip_addresses, self.view.now)?;
            }
            Ok(chain)
        });
        let chain = match checked {
            Ok(chain) => chain,
            Err(error) => return self.fail_issuance(self.view.now, "InvalidCertificate", &error.to_string()),
        };
        self.actions.push(Action::WriteSecret { chain: chain.to_pem() });
        let revision = next_revision(self.view.certificate);
        // It was about the old one.
        self.status.acme = None;
        self.set_times(Some(chain.leaf()));
        self.set_ready(None);
        condition::remove(&mut self.status.conditions, condition::ISSUING);
        self.status.revision = Some(revision);
        self.status.failed_issuance_attempts = None;
        self.status.last_failure_time = None;
        self.status.next_private_key_secret_name = None;
        self.write_status();
        self.publish(true, false, "Issuing", "The certificate has been successfully issued");
        self.delete_next_key();
        self.prune(revision);
        self.requeue_at_renewal();
    }

    fn fail_issuance(&mut self, failed: Timestamp, reason: &str, message: &str) {
        let attempts = self.status.failed_issuance_attempts.unwrap_or_default().saturating_add(1);
        let next = self.view.backoff.next_attempt(failed, attempts);
        let next = condition::whole_seconds(next).0;
        let message = format!(
            "The certificate request has failed to complete and will be retried: {message}; the next attempt is at {next}"
        );
        self.status.failed_issuance_attempts = Some(attempts);
        self.status.last_failure_time = Some(condition::whole_seconds(failed));
        self.status.next_private_key_secret_name = None;
        self.set_condition(condition::ISSUING, ConditionStatus::False, reason, message.clone());
        self.write_status();
        self.publish(true, true, reason, &message);
        self.delete_next_key();
        self.requeue = Requeue::at(next, self.view.now);
    }

    pub(super) fn delete_next_key(&mut self) {
        let (name, key) = self.view.next_key;
        let named = self
            .view
            .certificate
            .status
            .as_ref()
            .and_then(|status| status.next_private_key_secret_name.as_ref());
        if key.is_some() || named.is_some() {
            self.actions.push(Action::DeleteNextKey(name.to_owned()));
            self.status.next_private_key_secret_name = None;
        }
    }
}

/// How long until a time; `None` if it is over.
fn until(time: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(time.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}
