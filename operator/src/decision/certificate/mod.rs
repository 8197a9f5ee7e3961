//! What to do about a Certificate: issue, wait, write its Secret, or leave it alone.
//!
//! Knows cert-manager's states, conditions and reasons, which six controllers of cert-manager share. Must not know how anything is read or
//! written. Next: `issuance.rs` for the steps of an issuance, `policy/` for when one is needed, `desired.rs` for what a spec asks for.

mod action;
mod desired;
mod handmade;
mod issuance;
mod keystores;
mod outcome;
mod pace;
mod policy;
mod prerequisite;
mod renewal_information;
mod retries;
mod secret_plan;
mod secret_view;
#[cfg(test)]
pub(crate) mod tests;
mod times;
mod view;

use std::sync::Arc;

use crds::{
    annotations::request::CERTIFICATE_NAME,
    certmanager::{Certificate, CertificateAcmeStatus, CertificateRequest, CertificateStatus},
    condition::{self, Condition, ConditionStatus, HasConditions},
};
use jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt};

pub use self::{
    action::{Action, EventSource, RequestPlan},
    desired::{DEFAULT_USAGES, DesiredCertificate},
    keystores::{JksPlan, Keystores, Password, Passwords, Pkcs12Plan},
    pace::{Cause, Pace},
    policy::{Finding, MOST_RIVALS},
    prerequisite::{Dependency, KeyPair, KeySource, Obtained, Prerequisite},
    renewal_information::{FetchRenewalInfo, FetchedRenewalInfo},
    secret_plan::{CertificateChain, SecretPlan},
    secret_view::{KeyFacts, LONGEST_KEYSTORE, Origin, Part, SecretView},
    view::{IssuerView, NextKey, View},
};
use self::{policy::Input, prerequisite::Stop};
use super::{Requeue, problem};
use crate::{
    objects::{self, EventNote, metadata::controller_of, names},
    pki::{Csr, LeafCertificate},
    reason::Reason,
};

/// How many CertificateRequests are deleted in one reconcile. Their deletion is followed by another one.
pub const MOST_DELETIONS: usize = 50;

/// The longest problem in a message, in bytes.
const LONGEST_PROBLEM: usize = 900;

/// The message of a Certificate that is ready, as cert-manager words it.
const UP_TO_DATE: &str = "Certificate is up to date and has not expired";

/// How many CertificateRequests are kept if the spec does not say.
const HISTORY_LIMIT: usize = 1;

/// The most CertificateRequests that are kept, whatever the spec says: each reconcile reads them all.
pub const LONGEST_HISTORY: usize = 100;

/// What to do now, and when to reconcile again if nothing changes.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// In this order; the rest is dropped if one fails.
    pub actions: Vec<Action>,
    /// When to reconcile again.
    pub requeue: Requeue,
    /// What prevents the next step. The reconcile fails with it after the actions, so it is retried with backoff.
    pub waiting_for: Option<Dependency>,
}

/// Whether a Certificate says that it is issued, so that most likely there is nothing to do for it.
pub fn is_quiet(certificate: &Certificate) -> bool {
    let conditions = certificate.conditions();
    condition::is_true(conditions, condition::READY) && !condition::is_true(conditions, condition::ISSUING)
}

/// The name of the Secret with the key of a Certificate's next issuance.
pub fn next_key_name(certificate: &Certificate) -> String {
    key_name(certificate, next_revision(certificate))
}

/// Whether its private key takes seconds to generate. Only RSA keys have so many bits.
pub fn has_large_key(certificate: &Certificate) -> bool {
    let size = certificate.spec.private_key.as_ref().and_then(|key| key.size);
    size.is_some_and(|bits| bits > 2048)
}

/// The name that the Secret with the key of the issued revision had.
pub fn past_key_name(certificate: &Certificate) -> Option<String> {
    let revision = certificate.status.as_ref()?.revision?;
    Some(key_name(certificate, revision))
}

fn key_name(certificate: &Certificate, revision: i64) -> String {
    let uid = certificate.uid().unwrap_or_default();
    names::next_private_key(&certificate.name_any(), &uid, revision)
}

/// The revision that the next issuance leads to.
pub fn next_revision(certificate: &Certificate) -> i64 {
    let revision = certificate.status.as_ref().and_then(|status| status.revision);
    // Users may write the status. Each revision must have another one after it, or its key would be taken for the next one.
    revision.filter(|revision| (0..i64::MAX).contains(revision)).unwrap_or_default() + 1
}

/// Whether a CertificateRequest that a Certificate does not own is one of a Certificate of the same name: that was deleted
/// without its requests, or a backup of it was restored.
pub fn is_left_behind(request: &CertificateRequest, certificate: &Certificate) -> bool {
    let name = certificate.name_any();
    let owner = controller_of(&request.metadata);
    request.annotations().get(CERTIFICATE_NAME) == Some(&name)
        && owner.is_none_or(|owner| owner.kind == Certificate::kind(&()) && owner.name == name)
}

/// What to do about a Certificate.
///
/// # Errors
/// Something has to be obtained first, because it costs a request and few decisions need it. Obtain it, add it to the view, and decide
/// again: nothing is asked for twice.
pub fn decide(view: &View<'_>) -> Result<Decision, Prerequisite> {
    if view.certificate.metadata.deletion_timestamp.is_some() {
        return Ok(Decision::default());
    }
    let mut deciding = Deciding {
        view,
        status: without_future(view.certificate.status.clone().unwrap_or_default(), view.now),
        problem: view.problem.map(ToOwned::to_owned),
        actions: Vec::new(),
        last: Vec::new(),
        requeue: Requeue::Resync,
    };
    let waiting_for = match deciding.decide() {
        Ok(()) => None,
        Err(Stop::Prerequisite(prerequisite)) => return Err(prerequisite),
        Err(Stop::WaitingFor(dependency)) => {
            // What is known is not lost with the step that fails.
            deciding.write_status();
            Some(dependency)
        }
    };
    deciding.actions.append(&mut deciding.last);
    Ok(Decision { actions: deciding.actions, requeue: deciding.requeue, waiting_for })
}

/// A status without times that are still to come, which another clock wrote: everything would seem to have happened before an
/// issuance that starts tomorrow, and be done again until then.
fn without_future(mut status: CertificateStatus, now: Timestamp) -> CertificateStatus {
    let transitions = status.conditions.iter_mut().map(|condition| &mut condition.last_transition_time);
    for time in transitions.chain([&mut status.last_failure_time]).flatten() {
        if time.0 > now {
            *time = condition::whole_seconds(now);
        }
    }
    status
}

/// The status of a Certificate whose reconcile failed.
pub fn report(certificate: &Certificate, problem: &str, now: Timestamp) -> CertificateStatus {
    let mut status = certificate.status.clone().unwrap_or_default();
    if condition::find(&status.conditions, condition::READY).is_none() {
        let ready = Condition {
            type_: condition::READY.to_owned(),
            status: ConditionStatus::False,
            reason: Some(Reason::Pending.as_str().to_owned()),
            message: None,
            observed_generation: certificate.metadata.generation,
            last_transition_time: None,
        };
        condition::set(&mut status.conditions, ready, now);
    }
    report_in(&mut status.conditions, problem);
    status
}

/// Puts a problem into the messages of Ready, which `kubectl get` shows, and of Issuing while that is true.
fn report_in(conditions: &mut [Condition], problem: &str) {
    let problem = condition::one_line(problem, LONGEST_PROBLEM);
    for condition in conditions {
        let is_true = condition.status == ConditionStatus::True;
        match condition.type_.as_str() {
            condition::READY if is_true => {
                condition.message = Some(format!("{UP_TO_DATE}. Needs attention: {problem}"));
            }
            condition::READY => condition.message = Some(problem.clone()),
            condition::ISSUING if is_true => condition.message = Some(problem.clone()),
            _ => {}
        }
    }
}

/// Puts advice into the message of Ready, unless something is being issued.
fn advise_in(conditions: &mut [Condition], advice: &str) {
    if condition::is_true(conditions, condition::ISSUING) {
        return;
    }
    let is_ready = |it: &&mut Condition| it.type_ == condition::READY && it.status == ConditionStatus::True;
    if let Some(ready) = conditions.iter_mut().find(is_ready) {
        ready.message = Some(format!("{UP_TO_DATE}. {}", condition::one_line(advice, LONGEST_PROBLEM)));
    }
}

/// A decision as far as it has been made.
struct Deciding<'a> {
    view: &'a View<'a>,
    status: CertificateStatus,
    /// What keeps the Certificate from its desired state, for its status.
    problem: Option<String>,
    actions: Vec<Action>,
    /// Housekeeping, which must not hold up anything else if it fails.
    last: Vec<Action>,
    requeue: Requeue,
}

impl Deciding<'_> {
    fn decide(&mut self) -> Result<(), Stop> {
        let desired = match policy::admit(self.view) {
            Ok(desired) => desired,
            Err(refusal) => {
                let Finding { reason, message } = &refusal.finding;
                self.warn_once(EventSource::Trigger, *reason, message);
                self.set_ready(Some(refusal.finding));
                self.problem = None;
                self.write_status();
                self.requeue = refusal.requeue;
                return Ok(());
            }
        };
        let current = self.status.revision.and_then(|revision| self.request(revision));
        let csr = current.as_ref().and_then(|request| Csr::from_pem(&request.spec.request.0).ok());
        self.check_renewal_information()?;
        self.set_times(self.view.secret.and_then(SecretView::leaf));
        let input = Input {
            certificate: self.view.certificate,
            desired: &desired,
            secret: self.view.secret,
            current_request: current.as_deref().zip(csr.as_ref()),
            set_secret_owner_ref: self.view.set_secret_owner_ref,
            renewal_time: self.status.renewal_time.as_ref().map(|time| time.0),
            now: self.view.now,
        };
        self.set_ready(policy::unready(&input));
        self.last.extend(self.view.past_key.map(|name| Action::DeleteNextKey(name.to_owned())));
        if condition::is_true(&self.status.conditions, condition::ISSUING) {
            if self.is_needless(&input) {
                self.cancel_issuance();
                return self.settle(&input);
            }
            self.restore_issuing(&input);
            self.advance_issuance(&desired)
        } else if let Some(finding) = policy::trigger(&input) {
            self.start_issuance(&desired, &finding)
        } else {
            self.settle(&input)
        }
    }

    /// The CertificateRequest of a revision.
    fn request(&self, revision: i64) -> Option<Arc<CertificateRequest>> {
        let has_revision = |request: &&Arc<CertificateRequest>| {
            objects::certificate_request::revision(request) == Some(revision)
        };
        self.view.requests.iter().find(has_revision).cloned()
    }

    fn check_renewal_information(&mut self) -> Result<(), Stop> {
        let check = renewal_information::check(self.view).map_err(Prerequisite::RenewalInfo)?;
        self.status.acme = check.information.map(|ari| CertificateAcmeStatus { ari: Some(ari) });
        if let Some(next) = check.next {
            self.requeue_at(next);
        }
        if let Some(note) = check.note {
            self.publish(EventSource::Trigger, note);
        }
        Ok(())
    }

    fn set_times(&mut self, leaf: Option<&LeafCertificate>) {
        let uid = self.view.certificate.uid().unwrap_or_default();
        if let Some(problem) = times::set(&mut self.status, &self.view.certificate.spec, leaf, &uid) {
            self.publish(EventSource::Trigger, EventNote::warning(Reason::WindowError, problem));
        }
    }

    fn set_ready(&mut self, finding: Option<Finding>) {
        let (status, finding) = match finding {
            Some(finding) => (ConditionStatus::False, finding),
            None => {
                (ConditionStatus::True, Finding { reason: Reason::Ready, message: UP_TO_DATE.to_owned() })
            }
        };
        self.set_condition(condition::READY, status, finding.reason, finding.message);
    }

    fn set_condition(&mut self, type_: &str, status: ConditionStatus, reason: Reason, message: String) {
        let new = Condition {
            type_: type_.to_owned(),
            status,
            reason: Some(reason.as_str().to_owned()),
            message: Some(message),
            observed_generation: self.view.certificate.metadata.generation,
            last_transition_time: None,
        };
        condition::set(&mut self.status.conditions, new, self.view.now);
    }

    fn write_status(&mut self) {
        let mut status = self.status.clone();
        if let Some(problem) = &self.problem {
            report_in(&mut status.conditions, problem);
        } else if let Some(advice) = self.view.advice {
            advise_in(&mut status.conditions, advice);
        }
        self.actions.push(Action::WriteStatus(Box::new(status)));
    }

    /// Restores the message of Issuing if it is that of a problem, which may have been solved.
    fn restore_issuing(&mut self, input: &Input<'_>) {
        let stored = |type_| condition::find(self.view.certificate.conditions(), type_);
        let Some(issuing) = stored(condition::ISSUING).filter(|it| it.message.is_some()) else { return };
        let ready = stored(condition::READY).and_then(|ready| ready.message.as_deref()).unwrap_or_default();
        if !ready.ends_with(issuing.message.as_deref().unwrap_or_default()) {
            return;
        }
        let Finding { reason, message } = policy::trigger(input).unwrap_or_else(|| Finding {
            reason: Reason::Issuing,
            message: "Issuing certificate as requested".to_owned(),
        });
        self.set_condition(condition::ISSUING, ConditionStatus::True, reason, message);
    }

    /// Publishes a Warning, unless the Certificate's status reports it already.
    fn warn_once(&mut self, source: EventSource, reason: Reason, message: &str) {
        let line = condition::one_line(message, LONGEST_PROBLEM);
        let cause = problem::cause(&line).trim_end_matches('…');
        let reported = self
            .view
            .certificate
            .conditions()
            .iter()
            .any(|it| it.message.as_deref().is_some_and(|reported| reported.contains(cause)));
        if !reported {
            self.publish(source, EventNote::warning(reason, message));
        }
    }

    fn publish(&mut self, source: EventSource, note: EventNote) {
        self.actions.push(Action::Publish { source, note });
    }

    /// Nothing has to be issued: cleans up, keeps the rest of the Secret up to date, and waits for the renewal.
    fn settle(&mut self, input: &Input<'_>) -> Result<(), Stop> {
        if self.status.next_private_key_secret_name.take().is_some() || self.view.next_key.key.is_some() {
            self.delete_next_key();
        }
        if condition::is_true(&self.status.conditions, condition::READY) {
            self.prune(self.status.revision.unwrap_or_default());
        }
        if let Some(finding) =
            policy::rewrite(input).map_or_else(|| self.unfit_keystore(), |it| Ok(Some(it)))?
        {
            self.rewrite_secret(input.desired, finding)?;
        }
        self.write_status();
        self.requeue_at_renewal();
        Ok(())
    }

    /// Finds a keystore that the Secret lacks, or that has another certificate, password, alias or profile.
    fn unfit_keystore(&self) -> Result<Option<Finding>, Stop> {
        let Some(secret) = self.view.secret else { return Ok(None) };
        let keystores = self.keystores()?;
        match (keystores.unfit_in(secret), keystores.obstacle) {
            (Some(message), _) => Ok(Some(Finding { reason: Reason::SecretMismatch, message })),
            (None, Some(obstacle)) => Err(Stop::WaitingFor(obstacle)),
            (None, None) => Ok(None),
        }
    }

    /// Deletes the CertificateRequests of past revisions, except as many as the history limit keeps.
    fn prune(&mut self, revision: i64) {
        let limit = self.view.certificate.spec.revision_history_limit;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(HISTORY_LIMIT);
        let limit = limit.clamp(1, LONGEST_HISTORY);
        let mut past: Vec<_> = self
            .view
            .requests
            .iter()
            .filter_map(|request| {
                let of = objects::certificate_request::revision(request)?;
                // One of a later revision is from before a backup was restored.
                Some((of <= revision, of, request.name_any()))
            })
            .collect();
        past.sort();
        let surplus = past.len().saturating_sub(limit).min(MOST_DELETIONS);
        self.actions.extend(past.into_iter().take(surplus).map(|(.., name)| Action::DeleteRequest(name)));
    }

    /// Requeues at the renewal, or when the certificate has expired if it is not renewed.
    fn requeue_at_renewal(&mut self) {
        let renewal = self.status.renewal_time.as_ref().map(|time| time.0);
        // The certificate is still valid in the second of `notAfter`.
        let second = SignedDuration::from_secs(1);
        let expired = self.status.not_after.as_ref().and_then(|time| time.0.checked_add(second).ok());
        if let Some(time) = renewal.or(expired) {
            self.requeue_at(time);
        }
    }

    /// Requeues at a time, unless something else requeues earlier. A time that has passed has had its effect already, and must not requeue
    /// immediately: nothing would have changed, so the loop would never end.
    fn requeue_at(&mut self, time: Timestamp) {
        if time > self.view.now {
            self.requeue = self.requeue.earliest(Requeue::at(time, self.view.now));
        }
    }
}
