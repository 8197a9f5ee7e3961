//! The steps of an issuance: a stored key, a CertificateRequest signed with it, and what becomes of that.

use std::{sync::Arc, time::Duration};

use crds::{
    annotations::request::{OVERRIDE_INGRESS_CLASS, OVERRIDE_INGRESS_CLASS_NAME, OVERRIDE_INGRESS_NAME},
    certmanager::CertificateRequest,
    condition::{self, Condition, ConditionStatus},
    duration::GoDuration,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    Action, Cause, Deciding, DesiredCertificate, EventSource, Finding, KeySource, Part, RequestPlan,
    SecretView, next_revision,
    outcome::{Issued, Outcome},
    policy::{self, Input},
    prerequisite::{Prerequisite, Stop},
    renewal_information,
};
use crate::{
    decision::{
        Requeue,
        challenge::VALIDATING,
        limits::later,
        problem::{with_next_attempt, with_time},
        renewal::renewal_time,
        request, restoration,
    },
    objects::EventNote,
    pki::{Chain, Csr, PrivateKey, ReadCsrError, check_not_worse},
    reason::Reason,
};

/// An attempt that comes sooner after a failure follows a change. These are paced, so that tools that disagree place few orders.
const EARLY_RETRY: Duration = Duration::from_mins(5);

impl Deciding<'_> {
    /// Starts an issuance, unless the last one failed and still backs off.
    pub(super) fn start_issuance(
        &mut self,
        desired: &DesiredCertificate,
        finding: &Finding,
    ) -> Result<(), Stop> {
        if let Some(wait) = self.backoff(desired) {
            let issuing = condition::find(&self.status.conditions, condition::ISSUING);
            self.problem = self.problem.take().or_else(|| issuing?.message.clone());
            self.requeue = self.requeue.earliest(Requeue::After(wait));
            self.delete_next_key();
            self.write_status();
            return Ok(());
        }
        if self.waits_for_restoration() || self.waits_for_its_pace(Some(finding.reason), &finding.message) {
            return Ok(());
        }
        self.set_condition(
            condition::ISSUING,
            ConditionStatus::True,
            finding.reason,
            finding.message.clone(),
        );
        self.publish(EventSource::Trigger, EventNote::normal(Reason::Issuing, &*finding.message));
        self.advance_issuance(desired)
    }

    /// Why a certificate is requested, by the reason of Issuing.
    fn cause(&self, reason: Option<Reason>) -> Cause {
        if self.status.failed_issuance_attempts.is_some_and(|failures| failures > 0) {
            // Sooner than a retry: something has corrected the spec.
            let early = self.view.backoff.minimum.min(EARLY_RETRY);
            let failed = self.status.last_failure_time.as_ref();
            let is_early = failed.is_some_and(|failed| self.view.now < later(failed.0, early));
            if is_early { Cause::Change } else { Cause::Failure }
        } else if matches!(reason, Some(Reason::RequestChanged | Reason::IncorrectIssuer)) {
            Cause::Change
        } else {
            Cause::Other
        }
    }

    /// Reports that the next request waits because there were several in a row, if so.
    fn waits_for_its_pace(&mut self, reason: Option<Reason>, message: &str) -> bool {
        if self.view.is_requested {
            // Its own request counts, and is not in the cache yet.
            return false;
        }
        let Some((until, problem)) = self.too_fast(reason, message) else { return false };
        self.warn_once(EventSource::Trigger, Reason::IssuedTooOften, &problem);
        self.problem = self.problem.take().or(Some(problem));
        self.write_status();
        self.requeue = self.requeue.earliest(Requeue::at(until, self.view.now));
        true
    }

    /// Until when the next request waits because there were several in a row, and what to say about it. A certificate that works
    /// and nears its end is renewed anyway.
    fn too_fast(&self, reason: Option<Reason>, message: &str) -> Option<(Timestamp, String)> {
        let pace = self.view.pace?;
        let leaf = self.view.secret.and_then(SecretView::leaf).filter(|_| reason == Some(Reason::Renewing));
        let until = leaf
            .and_then(|leaf| {
                let due = renewal_time(leaf.not_before, leaf.not_after, None, None)?;
                let lifetime = Duration::try_from(leaf.not_after.duration_since(leaf.not_before)).ok()?;
                Some(pace.next_renewal(due, lifetime))
            })
            .unwrap_or_else(|| pace.next(self.cause(reason)));
        let why = self
            .renews_immediately(reason)
            .unwrap_or_else(|| format!("Find out what asks for it: {message}"));
        let cause = format!(
            "certificates were requested {} times in a row, so the next request waits. {why}",
            pace.requests(),
        );
        (until > self.view.now).then(|| (until, with_time(cause, until)))
    }

    /// What is wrong with a spec that makes each certificate due for renewal soon after it is issued, if so.
    fn renews_immediately(&self, reason: Option<Reason>) -> Option<String> {
        let leaf =
            self.view.secret.and_then(SecretView::leaf).filter(|_| reason == Some(Reason::Renewing))?;
        let spec = &self.view.certificate.spec;
        let (field, value) = match (spec.renew_before, spec.renew_before_percentage) {
            (Some(before), _) => ("renewBefore", before.to_string()),
            (None, Some(percentage)) => ("renewBeforePercentage", percentage.to_string()),
            (None, None) => return None,
        };
        let (begin, end) = (leaf.not_before, leaf.not_after);
        let due = renewal_time(begin, end, spec.renew_before, spec.renew_before_percentage)?;
        let lifetime = end.duration_since(begin);
        (due.duration_since(begin) < lifetime / 10).then(|| {
            format!(
                "spec.{field} ({value}) is nearly as long as the CA lets certificates live ({}), so each one is due for \
                 renewal soon after it is issued. Shorten spec.{field}",
                GoDuration::from_secs(i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX))
            )
        })
    }

    /// The CertificateRequest of the issuance that is in progress, or that failed last.
    pub(super) fn next_request(&self) -> Option<Arc<CertificateRequest>> {
        self.request(next_revision(self.view.certificate))
    }

    pub(super) fn matches_spec(&self, desired: &DesiredCertificate, request: &CertificateRequest) -> bool {
        csr_of(request)
            .is_ok_and(|csr| desired.differs_from_request(self.view.certificate, request, &csr).is_empty())
    }

    /// Whether there is no reason any more for the issuance in progress: its Secret was restored, or the spec was changed back.
    pub(super) fn is_needless(&self, input: &Input<'_>) -> bool {
        let issuing = condition::find(&self.status.conditions, condition::ISSUING);
        let began_by_itself = matches!(
            issuing.and_then(reason_of),
            Some(
                Reason::DoesNotExist
                    | Reason::MissingData
                    | Reason::InvalidKeyPair
                    | Reason::InvalidCertificate
                    | Reason::IncorrectIssuer
                    | Reason::SecretMismatch
                    | Reason::RequestChanged
            )
        );
        began_by_itself && policy::trigger(input).is_none() && !self.is_done()
    }

    /// Whether the CA has issued what the issuance in progress asks for. Its certificate may be in the Secret already, if a process
    /// ended before it could write the status.
    fn is_done(&self) -> bool {
        let Some(request) = self.next_request() else { return false };
        let csr = csr_of(&request).ok();
        matches!(Outcome::of(&request), Outcome::Issued(_))
            || self.view.secret.zip(csr).is_some_and(|(secret, csr)| secret.has_key_of(&csr))
    }

    pub(super) fn cancel_issuance(&mut self) {
        let message = "The Secret has a certificate for this spec by now, so the issuance was canceled";
        condition::remove(&mut self.status.conditions, condition::ISSUING);
        self.publish(EventSource::Issuing, EventNote::normal(Reason::Issuing, message));
        if let Some(request) = self.next_request() {
            self.actions.push(Action::DeleteRequest(request.name_any()));
        }
    }

    /// Reports that a new Certificate waits for its Secret because the namespace is being restored from a backup, if so.
    fn waits_for_restoration(&mut self) -> bool {
        let view = self.view;
        let created = view.certificate.creation_timestamp().map_or(view.now, |created| created.0);
        let wait = restoration::wait(view.restored, created, view.now);
        let Some(wait) = wait.filter(|_| view.secret.is_none()) else { return false };
        let secret = &view.certificate.spec.secret_name;
        let cause = format!(
            "objects of this namespace are being restored from a backup, so no certificate is requested before the Secret \
             {secret:?} can be there"
        );
        self.problem = self.problem.take().or_else(|| Some(with_next_attempt(cause, wait, view.now)));
        self.write_status();
        self.requeue = self.requeue.earliest(Requeue::After(wait));
        true
    }

    /// Takes the next step of the issuance in progress.
    pub(super) fn advance_issuance(&mut self, desired: &DesiredCertificate) -> Result<(), Stop> {
        if self.waits_for_restoration() {
            return Ok(());
        }
        let Some(request) = self.next_request() else { return self.request_issuance(desired) };
        if let Err(error) = csr_of(&request)
            && !self.precedes_issuance(request.metadata.creation_timestamp.as_ref())
        {
            // Another one instead would be as unreadable, and the one after it.
            let message = format!("the CertificateRequest {:?} can't be used: {error}", request.name_any());
            self.fail_issuance(self.view.now, Reason::InvalidRequest, &message);
            return Ok(());
        }
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
                let problem = message
                    .map(request::with_advice)
                    .or_else(|| self.view.order_reason.map(ToOwned::to_owned));
                if problem.is_some() && !self.selects_the_same_solver(&request) {
                    // The user has corrected what the issuer chooses the solver by.
                    self.write_status();
                    self.actions.push(Action::DeleteRequest(request.name_any()));
                    return Ok(());
                }
                // That the CA takes its time is no fault.
                if let Some(problem) = problem.as_ref().filter(|it| !it.contains(VALIDATING)) {
                    self.warn_once(EventSource::Issuing, Reason::Pending, problem);
                }
                let problem = problem.or_else(|| self.waits_for_another_signer(&request));
                self.problem = self.problem.take().or(problem);
                // It may be what the request waits for, and have been asked for since.
                let temporary = self.plan_temporary(desired, &key)?;
                self.write_status();
                self.write_temporary(temporary);
                Ok(())
            }
            Outcome::Failed { reason, message } => {
                let time = request.status.as_ref().and_then(|status| status.failure_time.as_ref());
                self.fail_issuance(time.map_or(self.view.now, |time| time.0), reason, &message);
                Ok(())
            }
            Outcome::Issued(issued) => self.complete_issuance(desired, &key, issued),
        }
    }

    /// That a request waits for a controller that serves its issuer, if so.
    fn waits_for_another_signer(&self, request: &CertificateRequest) -> Option<String> {
        let issuer = self.view.certificate.spec.issuer_ref.identity();
        if let Some(type_) = self.view.unsupported {
            return Some(format!(
                "the {} {:?} is of the type {type_}, which this operator does not support. Use an issuer with spec.acme",
                issuer.kind, issuer.name
            ));
        }
        (issuer.group != crds::GROUP).then(|| {
            format!(
                "waiting for the controller of the issuers of the group {:?} to sign the CertificateRequest {:?}: this operator \
                 serves issuers of the group {:?}",
                issuer.group,
                request.name_any(),
                crds::GROUP
            )
        })
    }

    /// Whether a request has the labels and the overrides of the Certificate by which a solver is chosen.
    fn selects_the_same_solver(&self, request: &CertificateRequest) -> bool {
        const OVERRIDES: [&str; 3] =
            [OVERRIDE_INGRESS_NAME, OVERRIDE_INGRESS_CLASS, OVERRIDE_INGRESS_CLASS_NAME];
        let certificate = self.view.certificate;
        request.labels() == certificate.labels()
            && OVERRIDES
                .iter()
                .all(|name| request.annotations().get(*name) == certificate.annotations().get(*name))
    }

    /// Whether a request failed before this issuance started.
    fn failed_before(&self, request: &CertificateRequest, outcome: &Outcome) -> bool {
        let failed = request.status.as_ref().and_then(|status| status.failure_time.as_ref());
        // Not every approver sets the time of a denial.
        let failed = failed.or(request.metadata.creation_timestamp.as_ref());
        matches!(outcome, Outcome::Failed { .. }) && self.precedes_issuance(failed)
    }

    /// Whether a time is before this issuance started.
    fn precedes_issuance(&self, time: Option<&Time>) -> bool {
        let started = condition::find(&self.status.conditions, condition::ISSUING)
            .and_then(|issuing| issuing.last_transition_time.as_ref())
            .map_or(self.view.now, |time| time.0);
        time.is_some_and(|time| time.0 < started)
    }

    /// The next key, if it signed the CSR of a request.
    fn signing_key(&self, request: &CertificateRequest) -> Option<Arc<PrivateKey>> {
        let key = self.view.next_key.key?;
        let csr = csr_of(request).ok()?;
        let signed = key.public_key_der().is_ok_and(|public_key_der| public_key_der == csr.public_key_der);
        signed.then(|| Arc::clone(key))
    }

    /// Requests a certificate, once the key that signs the request is stored.
    fn request_issuance(&mut self, desired: &DesiredCertificate) -> Result<(), Stop> {
        // A request that was deleted, or is for something else by now, leads to another order.
        let issuing = condition::find(&self.status.conditions, condition::ISSUING);
        let reason = issuing.and_then(reason_of);
        let message = issuing.and_then(|issuing| issuing.message.clone()).unwrap_or_default();
        if self.waits_for_its_pace(reason, &message) {
            return Ok(());
        }
        let next_key = self.view.next_key;
        let Some(key) = next_key.key else { return self.obtain_next_key(desired) };
        self.status.next_private_key_secret_name = Some(next_key.secret_name.to_owned());
        if let Some(other) = self.view.left_behind {
            // The deletion enqueues the Certificate.
            self.write_status();
            self.actions.push(Action::DeleteRequest(other.name_any()));
            return Ok(());
        }
        let temporary = self.plan_temporary(desired, key)?;
        self.write_status();
        self.write_temporary(temporary);
        let revision = next_revision(self.view.certificate);
        self.actions.push(Action::CreateRequest(Box::new(RequestPlan {
            name: self.view.next_request_name.to_owned(),
            revision,
            key: Arc::clone(key),
            key_secret_name: next_key.secret_name.to_owned(),
            csr: desired.csr.clone(),
            cause: self.cause(reason),
            replaces: renewal_information::replaced_certificate(self.view),
        })));
        Ok(())
    }

    fn write_temporary(&mut self, temporary: Option<Action>) {
        if let Some(temporary) = temporary {
            self.actions.push(temporary);
            let note = EventNote::normal(Reason::Issuing, "Issued temporary certificate");
            self.publish(EventSource::Issuing, note);
        }
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
        let reason = Reason::CannotRegenerateKey;
        let message = format!(
            "the private key in the Secret does not match [{}], and spec.privateKey.rotationPolicy is Never. To get \
             a new key, set it to Always, or delete the Secret",
            differences.join(" ")
        );
        self.warn_once(EventSource::Trigger, reason, &message);
        self.set_condition(condition::ISSUING, ConditionStatus::True, reason, message.clone());
        self.problem = Some(message);
        self.write_status();
        Ok(())
    }

    fn complete_issuance(
        &mut self,
        desired: &DesiredCertificate,
        key: &Arc<PrivateKey>,
        issued: Issued,
    ) -> Result<(), Stop> {
        let Issued { chain, ca } = issued;
        let checked = Chain::from_pem(&chain).and_then(|chain| {
            chain.check(key, &desired.csr.dns_names, &desired.csr.ip_addresses, self.view.now)?;
            let in_use = self.view.secret.and_then(|secret| secret.usable_leaf(&desired.csr.dns_names));
            in_use.map_or(Ok(()), |in_use| check_not_worse(chain.leaf(), in_use, self.view.now))?;
            Ok(chain)
        });
        let chain = match checked {
            Ok(chain) => chain,
            Err(error) => {
                self.fail_issuance(self.view.now, Reason::InvalidCertificate, &error.to_string());
                return Ok(());
            }
        };
        let why = Finding {
            reason: Reason::Issuing,
            message: "The certificate has been successfully issued".to_owned(),
        };
        let note = EventNote::normal(why.reason, &*why.message);
        self.write_secret(desired, key, &chain, ca, why)?;
        let revision = next_revision(self.view.certificate);
        // They were about the replaced certificate.
        (self.status.acme, self.problem) = (None, None);
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

    fn fail_issuance(&mut self, failed: Timestamp, reason: Reason, message: &str) {
        let attempts = self.status.failed_issuance_attempts.unwrap_or_default().saturating_add(1);
        let next = self.next_attempt(Some(reason), failed, attempts);
        let next = condition::whole_seconds(next).0;
        let message = format!(
            "The certificate request has failed to complete and will be retried: {message}; the next attempt is at {next}"
        );
        self.status.failed_issuance_attempts = Some(attempts);
        self.status.last_failure_time = Some(condition::whole_seconds(failed));
        self.status.next_private_key_secret_name = None;
        self.set_condition(condition::ISSUING, ConditionStatus::False, reason, message.clone());
        self.problem = Some(message.clone());
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

pub(super) fn csr_of(request: &CertificateRequest) -> Result<Csr, ReadCsrError> {
    Csr::from_pem(&request.spec.request.0)
}

/// The reason of a condition, if it is one of the operator's.
pub(super) fn reason_of(condition: &Condition) -> Option<Reason> {
    condition.reason.as_deref()?.parse().ok()
}
