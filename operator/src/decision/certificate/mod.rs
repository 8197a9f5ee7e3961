//! What to do about a Certificate: issue, wait, write its Secret, or leave it alone. The states and conditions are
//! cert-manager's; that they are one decision in place of six controllers is ours.
//!
//! Next: `policy/` for when a new certificate is needed, `desired.rs` for what a spec asks for.

mod desired;
mod issuance;
mod outcome;
mod policy;
mod secret_view;
#[cfg(test)]
mod tests;
mod times;

use std::sync::Arc;

use crds::{
    certmanager::{
        Certificate, CertificateAcmeStatus, CertificateRequest, CertificateStatus, RenewalInformation,
    },
    condition::{self, Condition, ConditionStatus},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use self::policy::Input;
pub use self::{
    desired::DesiredCertificate,
    policy::Finding,
    secret_view::{KeyFacts, Part, SecretView},
};
use super::{Requeue, backoff::IssuanceBackoff};
use crate::{
    objects::{self, EventNote, names},
    pki::{Csr, LeafCertificate, PrivateKey},
};

/// How many CertificateRequests are kept where the spec does not say.
const HISTORY_LIMIT: usize = 1;

/// What is known.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The Certificate.
    pub certificate: &'a Certificate,
    /// Its Secret, if there is one.
    pub secret: Option<&'a SecretView>,
    /// Its CertificateRequests, by owner.
    pub requests: &'a [Arc<CertificateRequest>],
    /// Why the Order of the request that is under way waits, if it says so.
    pub order_reason: Option<&'a str>,
    /// Other Certificates that name the same Secret.
    pub rivals: &'a [Arc<Certificate>],
    /// The Secret with the key of the next issuance: its name, and the key once it is there.
    pub next_key: (&'a str, Option<&'a PrivateKey>),
    /// The Secret with the key of the revision that is issued, where it is still there: a process ended before it could delete
    /// it.
    pub past_key: Option<&'a str>,
    /// What the issuer's server says of when to renew, as the status shall have it.
    pub renewal_information: Option<RenewalInformation>,
    /// How failures wait.
    pub backoff: IssuanceBackoff,
    /// UTC.
    pub now: Timestamp,
}

/// Something to do, in the order of an issuance.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Makes the key of the next issuance, or copies the Secret's, unless it is there.
    EnsureNextKey {
        /// Name of its Secret.
        name: String,
        /// Whether the key in the Certificate's Secret is to be used again.
        reuse: bool,
    },
    /// Writes the status, if it differs.
    WriteStatus(Box<CertificateStatus>),
    /// Writes the Secret with a certificate that nobody trusts, until the real one is there.
    WriteTemporary,
    /// Signs a CSR with the next key, and asks for a certificate.
    CreateRequest {
        /// Name of the CertificateRequest.
        name: String,
        /// The revision that it makes.
        revision: i64,
    },
    /// Deletes a CertificateRequest: of the past, or one that no longer asks for what is wanted.
    DeleteRequest(String),
    /// Writes the Secret with a new chain and the next key.
    WriteSecret {
        /// PEM, leaf first.
        chain: String,
    },
    /// Writes what stands around key and chain in the Secret.
    RewriteSecret,
    /// Deletes the Secret with the next key.
    DeleteNextKey(String),
    /// Tells users.
    Publish {
        /// Whether of an end, in place of a beginning: two sources, as two events of one source and reason are taken for one.
        issued: bool,
        /// What.
        note: EventNote,
    },
}

/// What to do, and when to look again if nothing happens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// In order.
    pub actions: Vec<Action>,
    /// From now.
    pub requeue: Requeue,
}

/// The name of the Secret with the key of a Certificate's next issuance.
pub fn next_key_name(certificate: &Certificate) -> String {
    key_name(certificate, next_revision(certificate))
}

/// The name that the Secret with the key of the last issuance had.
pub fn past_key_name(certificate: &Certificate) -> Option<String> {
    let revision = certificate.status.as_ref()?.revision?;
    Some(key_name(certificate, revision))
}

fn key_name(certificate: &Certificate, revision: i64) -> String {
    let uid = certificate.uid().unwrap_or_default();
    names::next_private_key(&certificate.name_any(), &uid, revision)
}

fn next_revision(certificate: &Certificate) -> i64 {
    certificate.status.as_ref().and_then(|status| status.revision).unwrap_or_default().saturating_add(1)
}

/// Decides.
pub fn decide(view: &View<'_>) -> Decision {
    if view.certificate.metadata.deletion_timestamp.is_some() {
        return Decision::default();
    }
    let mut it = Deciding {
        view,
        status: view.certificate.status.clone().unwrap_or_default(),
        actions: Vec::new(),
        requeue: Requeue::Resync,
    };
    it.decide();
    Decision { actions: it.actions, requeue: it.requeue }
}

struct Deciding<'a> {
    view: &'a View<'a>,
    status: CertificateStatus,
    actions: Vec<Action>,
    requeue: Requeue,
}

impl Deciding<'_> {
    fn decide(&mut self) {
        let desired = match policy::admit(self.view) {
            Ok(desired) => desired,
            Err(refusal) => {
                self.set_ready(Some(refusal.finding));
                self.requeue = refusal.requeue;
                return self.write_status();
            }
        };
        let current = self.status.revision.and_then(|revision| self.request(revision));
        let csr = current.as_ref().and_then(|request| Csr::from_pem(&request.spec.request.0).ok());
        let leaf = self.view.secret.and_then(SecretView::leaf);
        let ari = self.view.renewal_information.clone();
        self.status.acme = ari.map(|ari| CertificateAcmeStatus { ari: Some(ari) });
        self.set_times(leaf);
        let input = Input {
            certificate: self.view.certificate,
            desired: &desired,
            secret: self.view.secret,
            current_request: current.as_deref().zip(csr.as_ref()),
            renewal_time: self.status.renewal_time.as_ref().map(|time| time.0),
            now: self.view.now,
        };
        self.set_ready(policy::unready(&input));
        self.actions.extend(self.view.past_key.map(|name| Action::DeleteNextKey(name.to_owned())));
        if condition::is_true(&self.status.conditions, condition::ISSUING) {
            self.advance_issuance(&desired);
        } else if let Some(finding) = policy::trigger(&input) {
            self.start_issuance(&desired, &finding);
        } else {
            self.settle(&input);
        }
    }

    /// The CertificateRequest of a revision.
    fn request(&self, revision: i64) -> Option<Arc<CertificateRequest>> {
        let is_it = |request: &&Arc<CertificateRequest>| {
            objects::certificate_request::revision(request) == Some(revision)
        };
        self.view.requests.iter().find(is_it).cloned()
    }

    fn set_times(&mut self, leaf: Option<&LeafCertificate>) {
        let uid = self.view.certificate.uid().unwrap_or_default();
        if let Some(problem) = times::set(&mut self.status, &self.view.certificate.spec, leaf, &uid) {
            self.publish(false, true, "WindowError", &problem);
        }
    }

    fn set_ready(&mut self, finding: Option<Finding>) {
        let (status, finding) = match finding {
            Some(finding) => (ConditionStatus::False, finding),
            None => (
                ConditionStatus::True,
                Finding {
                    reason: "Ready",
                    message: "Certificate is up to date and has not expired".to_owned(),
                },
            ),
        };
        self.set_condition(condition::READY, status, finding.reason, finding.message);
    }

    fn set_condition(&mut self, type_: &str, status: ConditionStatus, reason: &str, message: String) {
        let new = Condition {
            type_: type_.to_owned(),
            status,
            reason: Some(reason.to_owned()),
            message: Some(message),
            observed_generation: self.view.certificate.metadata.generation,
            last_transition_time: None,
        };
        condition::set(&mut self.status.conditions, new, self.view.now);
    }

    fn write_status(&mut self) {
        self.actions.push(Action::WriteStatus(Box::new(self.status.clone())));
    }

    fn publish(&mut self, issued: bool, warning: bool, reason: &str, message: &str) {
        let note = EventNote { warning, reason: reason.to_owned(), message: message.to_owned() };
        self.actions.push(Action::Publish { issued, note });
    }

    /// All is well: cleans up, and waits for the renewal.
    fn settle(&mut self, input: &Input<'_>) {
        if self.status.next_private_key_secret_name.take().is_some() || self.view.next_key.1.is_some() {
            self.delete_next_key();
        }
        if policy::rewrite(input).is_some() {
            self.actions.push(Action::RewriteSecret);
        }
        self.write_status();
        if condition::is_true(&self.status.conditions, condition::READY) {
            self.prune(self.status.revision.unwrap_or_default());
        }
        self.requeue_at_renewal();
    }

    /// Deletes the requests of the past, but for as many as are wanted.
    fn prune(&mut self, revision: i64) {
        let limit = self.view.certificate.spec.revision_history_limit;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(HISTORY_LIMIT).max(1);
        let mut past: Vec<_> = self
            .view
            .requests
            .iter()
            .filter_map(|request| {
                Some((objects::certificate_request::revision(request)?, request.name_any()))
            })
            .filter(|(of, _)| *of <= revision)
            .collect();
        past.sort();
        let surplus = past.len().saturating_sub(limit);
        self.actions.extend(past.into_iter().take(surplus).map(|(_, name)| Action::DeleteRequest(name)));
    }

    /// Requeues at the renewal, or when the certificate has expired if it is not renewed. Times that have passed have had their effect
    /// already, and must not requeue immediately: nothing would change, so it would never end.
    fn requeue_at_renewal(&mut self) {
        let renewal = self.status.renewal_time.as_ref().map(|time| time.0);
        // The certificate is still valid in the second of `notAfter`.
        let second = SignedDuration::from_secs(1);
        let expired = self.status.not_after.as_ref().and_then(|time| time.0.checked_add(second).ok());
        let ari = self.status.acme.as_ref().and_then(|acme| acme.ari.as_ref()?.next_check.as_ref());
        let times = [renewal.or(expired), ari.map(|time| time.0)].into_iter().flatten();
        let next = times.filter(|time| *time > self.view.now).min();
        self.requeue = next.map_or(Requeue::Resync, |time| Requeue::at(time, self.view.now));
    }
}
