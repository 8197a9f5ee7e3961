//! The steps of an issuance: a stored key, a CertificateRequest signed with it, and what becomes of that.

use std::{sync::Arc, time::Duration};

use crds::{
    certmanager::CertificateRequest,
    condition::{self, ConditionStatus},
};
use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    Action, Deciding, DesiredCertificate, EventSource, Finding, KeySource, Part, RequestPlan, next_revision,
    outcome::Outcome,
    prerequisite::{Prerequisite, Stop},
    renewal_information,
};
use crate::{
    decision::Requeue,
    objects::{EventNote, names},
    pki::{Chain, Csr, PrivateKey},
};

impl Deciding<'_> {
    /// Starts an issuance, unless the last one failed and still backs off.
    pub(super) fn start_issuance(
        &mut self,
        desired: &DesiredCertificate,
        finding: &Finding,
    ) -> Result<(), Stop> {
        if let Some(wait) = self.backoff(desired) {
            self.requeue = self.requeue.earliest(Requeue::After(wait));
            self.delete_next_key();
            self.write_status();
            return Ok(());
        }
        self.set_condition(
            condition::ISSUING,
            ConditionStatus::True,
            finding.reason,
            finding.message.clone(),
        );
        self.publish(EventSource::Trigger, EventNote::normal("Issuing", &*finding.message));
        self.advance_issuance(desired)
    }

    /// How long the last failure still delays the next attempt. A spec that has changed since then is tried immediately.
    fn backoff(&self, desired: &DesiredCertificate) -> Option<Duration> {
        let failed = self.status.last_failure_time.as_ref()?.0;
        let changed = self.next_request().is_some_and(|request| !self.matches_spec(desired, &request));
        let attempts = self.status.failed_issuance_attempts.unwrap_or(1);
        let next = self.view.backoff.next_attempt(failed, attempts);
        if changed { None } else { until(next, self.view.now) }
    }

    /// The CertificateRequest of the issuance that is in progress, or that failed last.
    fn next_request(&self) -> Option<Arc<CertificateRequest>> {
        self.request(next_revision(self.view.certificate))
    }

    fn matches_spec(&self, desired: &DesiredCertificate, request: &CertificateRequest) -> bool {
        Csr::from_pem(&request.spec.request.0)
            .is_ok_and(|csr| desired.differs_from_request(self.view.certificate, request, &csr).is_empty())
    }

    /// Takes the next step of the issuance in progress.
    pub(super) fn advance_issuance(&mut self, desired: &DesiredCertificate) -> Result<(), Stop> {
        let Some(request) = self.next_request() else { return self.request_issuance(desired) };
        let outcome = Outcome::of(&request);
        let key = self
            .signing_key(&request)
            .filter(|_| !self.failed_before(&request, &outcome) && self.matches_spec(desired, &request));
        let Some(key) = key else {
            // The deletion enqueues the Certificate, and a new request is created.
            self.write_status();
            self.actions.push(Action::DeleteRequest(request.name_any()));
            return Ok(());
        };
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
                Ok(())
            }
            Outcome::Failed { reason, message } => {
                let time = request.status.as_ref().and_then(|status| status.failure_time.as_ref());
                self.fail_issuance(time.map_or(self.view.now, |time| time.0), &reason, &message);
                Ok(())
            }
            Outcome::Issued(chain) => self.complete_issuance(desired, &key, &chain),
        }
    }

    /// Whether a request failed before this issuance started.
    fn failed_before(&self, request: &CertificateRequest, outcome: &Outcome) -> bool {
        let started = condition::find(&self.status.conditions, condition::ISSUING)
            .and_then(|issuing| issuing.last_transition_time.as_ref())
            .map_or(self.view.now, |time| time.0);
        let failed = request.status.as_ref().and_then(|status| status.failure_time.as_ref());
        matches!(outcome, Outcome::Failed { .. }) && failed.is_some_and(|time| time.0 < started)
    }

    /// The next key, if it signed the CSR of a request.
    fn signing_key(&self, request: &CertificateRequest) -> Option<Arc<PrivateKey>> {
        let key = self.view.next_key.key?;
        let csr = Csr::from_pem(&request.spec.request.0).ok()?;
        let signed = key.public_key_der().is_ok_and(|public_key_der| public_key_der == csr.public_key_der);
        signed.then(|| Arc::clone(key))
    }

    /// Requests a certificate, once the key that signs the request is stored.
    fn request_issuance(&mut self, desired: &DesiredCertificate) -> Result<(), Stop> {
        let next_key = self.view.next_key;
        let Some(key) = next_key.key else { return self.obtain_next_key(desired) };
        self.status.next_private_key_secret_name = Some(next_key.secret_name.to_owned());
        let temporary = self.plan_temporary(desired, key)?;
        self.write_status();
        if let Some(temporary) = temporary {
            self.actions.push(temporary);
            self.publish(EventSource::Issuing, EventNote::normal("Issuing", "Issued temporary certificate"));
        }
        let revision = next_revision(self.view.certificate);
        self.actions.push(Action::CreateRequest(Box::new(RequestPlan {
            name: names::certificate_request(&self.view.certificate.name_any(), revision),
            revision,
            key: Arc::clone(key),
            key_secret_name: next_key.secret_name.to_owned(),
            csr: desired.csr.clone(),
            replaces: renewal_information::replaced_certificate(self.view),
        })));
        Ok(())
    }

    /// Asks for the next key, or reports that it must be reused and can't be.
    fn obtain_next_key(&mut self, desired: &DesiredCertificate) -> Result<(), Stop> {
        let secret_name = self.view.next_key.secret_name.to_owned();
        let existing = self.view.secret.map(|secret| &secret.key);
        let (false, Some(Part::Valid(existing))) = (desired.rotate, existing) else {
            let source = KeySource::Generate(desired.key);
            return Err(Prerequisite::NextKey { secret_name, source }.into());
        };
        let differences = desired.differs_from_key(existing.kind);
        if differences.is_empty() {
            return Err(Prerequisite::NextKey { secret_name, source: KeySource::Reuse }.into());
        }
        let reason = "CannotRegenerateKey";
        let message = format!(
            "the private key in the Secret does not match [{}], and spec.privateKey.rotationPolicy is Never. To get \
             a new key, set it to Always, or delete the Secret",
            differences.join(" ")
        );
        let reported = condition::find(&self.status.conditions, condition::ISSUING)
            .is_some_and(|issuing| issuing.message.as_ref() == Some(&message));
        if !reported {
            self.publish(EventSource::Trigger, EventNote::warning(reason, &*message));
        }
        self.set_condition(condition::ISSUING, ConditionStatus::True, reason, message);
        self.write_status();
        Ok(())
    }

    fn complete_issuance(
        &mut self,
        desired: &DesiredCertificate,
        key: &Arc<PrivateKey>,
        chain: &[u8],
    ) -> Result<(), Stop> {
        let checked = Chain::from_pem(chain).and_then(|chain| {
            chain.check(key, &desired.csr.dns_names, &desired.csr.ip_addresses, self.view.now)?;
            Ok(chain)
        });
        let chain = match checked {
            Ok(chain) => chain,
            Err(error) => {
                self.fail_issuance(self.view.now, "InvalidCertificate", &error.to_string());
                return Ok(());
            }
        };
        let issued =
            Finding { reason: "Issuing", message: "The certificate has been successfully issued".to_owned() };
        let note = EventNote::normal(issued.reason, &*issued.message);
        self.write_secret(desired, key, &chain, issued)?;
        let revision = next_revision(self.view.certificate);
        // It was about the replaced certificate.
        self.status.acme = None;
        self.set_times(Some(chain.leaf()));
        self.set_ready(None);
        condition::remove(&mut self.status.conditions, condition::ISSUING);
        self.status.revision = Some(revision);
        self.status.failed_issuance_attempts = None;
        self.status.last_failure_time = None;
        self.status.next_private_key_secret_name = None;
        self.write_status();
        self.publish(EventSource::Issuing, note);
        self.delete_next_key();
        self.prune(revision);
        self.requeue_at_renewal();
        Ok(())
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
        self.publish(EventSource::Issuing, EventNote::warning(reason, message));
        self.delete_next_key();
        self.requeue = self.requeue.earliest(Requeue::at(next, self.view.now));
    }

    pub(super) fn delete_next_key(&mut self) {
        let next_key = self.view.next_key;
        let status = self.view.certificate.status.as_ref();
        let named = status.is_some_and(|status| status.next_private_key_secret_name.is_some());
        if next_key.key.is_some() || named {
            self.actions.push(Action::DeleteNextKey(next_key.secret_name.to_owned()));
            self.status.next_private_key_secret_name = None;
        }
    }
}

/// How long until a time; `None` if it has passed.
fn until(time: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(time.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}
