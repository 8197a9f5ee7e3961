//! What to do about a CertificateRequest: approve it, then let its issuer sign it.
//!
//! Knows approval, conditions, and which issuer signs; must not know what a CSR contains. Next: `acme.rs` for ACME issuers.

mod acme;
mod approval;
mod restrictions;

use crds::{
    acme::{AcmeIssuer, Order},
    certmanager::{CertificateRequest, CertificateRequestStatus},
    condition::{self, Condition, ConditionStatus},
};
use jiff::Timestamp;

pub use self::{
    approval::signer_names,
    restrictions::{Applicant, CHECKED_EVERY_MINUTES, Restrictions},
};
use crate::{
    decision::certificate::Pace,
    objects::EventNote,
    pki::{Csr, ReadCsrError},
    reason::Reason,
};

/// The beginning of a request's Ready message while its Order is in progress; cert-manager's words.
pub const WAITING: &str = "Waiting on certificate issuance from order";

/// The beginning of a request's Ready message if its issuer does not exist. All of it is in cert-manager's words: other programs match
/// it, and a cert-manager that serves other types of issuers writes the same.
const REFERENCED: &str = "Referenced";

/// The Ready message of a request, with what to do.
pub fn with_advice(message: String) -> String {
    if message.starts_with(REFERENCED) && message.ends_with("not found") {
        return format!(
            "{message}. Create it, or correct the annotation that names it, or else spec.issuerRef"
        );
    }
    message
}

/// The Ready message of a request whose issuer was just created; cert-manager's words.
pub const UNCHECKED: &str = "Referenced issuer does not have a Ready status condition";

/// The issuer that a request refers to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IssuerView<'a> {
    /// An issuer with an ACME server.
    Acme {
        /// The ACME part of its spec.
        acme: &'a AcmeIssuer,
        /// The URL of its account.
        account: Option<&'a str>,
        /// Whether its Ready condition is true: its account is registered.
        ready: bool,
        /// The message of that condition.
        message: Option<&'a str>,
    },
    /// It does not exist.
    Missing,
    /// The group is cert-manager's, which has no such kind.
    UnknownKind,
    /// An issuer of a type that this operator does not implement: cert-manager may serve it.
    Unsupported,
    /// It does not serve this request; why, and what to do.
    Refused(&'a str),
    /// An issuer of a group that this operator leaves to other controllers.
    Other,
}

/// The state of the world that a decision is based on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The request.
    pub request: &'a CertificateRequest,
    /// Its CSR.
    pub csr: Result<&'a Csr, &'a ReadCsrError>,
    /// Whether its owner is a Certificate that is gone: it is deleted soon.
    pub is_orphan: bool,
    /// Its issuer.
    pub issuer: IssuerView<'a>,
    /// The Order that it owns, or else the one with the name of the Order that it would create.
    pub order: Option<&'a Order>,
    /// The Orders that were created for it in a row.
    pub pace: Option<Pace>,
    /// Why the last reconcile failed, and when the next one is.
    pub problem: Option<&'a str>,
    /// Whether the operator approves the request; otherwise another controller or a person does.
    pub auto_approve: bool,
    /// The current time, UTC.
    pub now: Timestamp,
}

/// A write or an Event.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Writes the request's status, if it differs.
    WriteStatus(Box<CertificateRequestStatus>),
    /// Creates the Order that the request asks for.
    CreateOrder(Box<Order>),
    /// Makes the request the owner of the Order of this name.
    AdoptOrder(String),
    /// Deletes the Order of this name: its certificate is for another key, it is for another request that is gone, or the issuer's
    /// account has changed. The next one starts over.
    DeleteOrder(String),
    /// Publishes an Event about the request.
    Publish(EventNote),
}

/// Returns what to do about a request, in this order. Nothing but an approval if another controller signs for its issuer. Nothing if
/// it is final, before it is approved, or if it was restored from a backup and its Certificate has another identity now.
pub fn decide(view: &View<'_>) -> Vec<Action> {
    let request = view.request;
    let status = request.status.clone().unwrap_or_default();
    if request.metadata.deletion_timestamp.is_some() || view.is_orphan || is_final(&status) {
        return Vec::new();
    }
    let mut decision = Decision { view, status, actions: Vec::new() };
    decision.decide();
    decision.actions
}

/// The status of a request whose reconcile failed.
pub fn report(request: &CertificateRequest, problem: &str, now: Timestamp) -> CertificateRequestStatus {
    let mut status = request.status.clone().unwrap_or_default();
    if !is_final(&status) {
        set(
            &mut status,
            condition::READY,
            ConditionStatus::False,
            Reason::Pending.as_str(),
            problem.to_owned(),
            now,
        );
    }
    status
}

/// Whether a request is issued, failed or denied: its status never changes again.
pub fn is_final(status: &CertificateRequestStatus) -> bool {
    condition::find(&status.conditions, condition::READY).is_some_and(|ready| {
        let reason = ready.reason.as_deref().and_then(|reason| reason.parse().ok());
        ready.status == ConditionStatus::True || matches!(reason, Some(Reason::Failed | Reason::Denied))
    })
}

/// A decision in progress: the status as it will be written, and the actions so far.
struct Decision<'a> {
    view: &'a View<'a>,
    status: CertificateRequestStatus,
    actions: Vec<Action>,
}

impl Decision<'_> {
    fn decide(&mut self) {
        let is_denied = condition::is_true(&self.status.conditions, condition::DENIED);
        // Two writers of one condition would overwrite each other again and again.
        if matches!(self.view.issuer, IssuerView::Unsupported | IssuerView::Other) {
            let is_approved = condition::is_true(&self.status.conditions, condition::APPROVED);
            if !is_denied && !is_approved && self.approve() {
                self.write();
            }
            return;
        }
        if is_denied {
            self.status.failure_time = Some(condition::whole_seconds(self.view.now));
            let message = "The CertificateRequest was denied by an approval controller".to_owned();
            return self.finish(ConditionStatus::False, Reason::Denied, message);
        }
        if let IssuerView::Refused(why) = self.view.issuer {
            return self.wait(why.to_owned());
        }
        if !condition::is_true(&self.status.conditions, condition::APPROVED) && !self.approve() {
            return;
        }
        let issuer = self.view.request.spec.issuer_ref.identity();
        match self.view.issuer {
            IssuerView::Acme { acme, account, ready: true, .. } => self.sign_by_acme(acme, account),
            IssuerView::Acme { ready: false, message: None, .. } => self.wait(UNCHECKED.to_owned()),
            IssuerView::Acme { ready: false, message: Some(message), .. } => {
                self.wait(format!("{UNCHECKED}: the {} {:?} says: {message}", issuer.kind, issuer.name));
            }
            IssuerView::Missing => {
                let resource = issuer.kind.to_lowercase();
                self.wait(format!(
                    "{REFERENCED} {:?} not found: {resource}.{} {:?} not found",
                    issuer.kind, issuer.group, issuer.name
                ));
            }
            IssuerView::UnknownKind => self.wait(format!(
                "Referenced {:?} is not a kind of issuer: spec.issuerRef.kind must be Issuer or ClusterIssuer",
                issuer.kind
            )),
            IssuerView::Refused(_) | IssuerView::Unsupported | IssuerView::Other => {}
        }
    }

    /// Approves the request, if the operator does that. Returns whether it is approved.
    fn approve(&mut self) -> bool {
        if self.view.auto_approve {
            let message = "Certificate request has been approved by cert-manager.io".to_owned();
            self.set(condition::APPROVED, ConditionStatus::True, crds::GROUP, message);
        }
        self.view.auto_approve
    }

    /// Waits. A problem says more than what is waited for.
    fn wait(&mut self, message: String) {
        let message = self.view.problem.map_or(message, ToOwned::to_owned);
        self.set(condition::READY, ConditionStatus::False, Reason::Pending.as_str(), message);
        self.write();
    }

    fn fail(&mut self, message: String) {
        self.status.failure_time = Some(condition::whole_seconds(self.view.now));
        self.finish(ConditionStatus::False, Reason::Failed, message.clone());
        let reason = if self.view.order.is_some() { Reason::OrderFailed } else { Reason::InvalidOrder };
        self.actions.push(Action::Publish(EventNote::warning(reason, message)));
    }

    /// Fails because the CSR contradicts the request.
    fn invalid(&mut self, message: String) {
        let reason = Reason::InvalidRequest.as_str();
        self.set(condition::INVALID_REQUEST, ConditionStatus::True, reason, message.clone());
        self.fail(message);
    }

    fn finish(&mut self, status: ConditionStatus, reason: Reason, message: String) {
        self.set(condition::READY, status, reason.as_str(), message);
        self.write();
    }

    fn write(&mut self) {
        self.actions.push(Action::WriteStatus(Box::new(self.status.clone())));
    }

    fn set(&mut self, type_: &str, status: ConditionStatus, reason: &str, message: String) {
        set(&mut self.status, type_, status, reason, message, self.view.now);
    }
}

fn set(
    of: &mut CertificateRequestStatus,
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let new = Condition {
        type_: type_.to_owned(),
        status,
        reason: Some(reason.to_owned()),
        message: Some(message),
        observed_generation: None,
        last_transition_time: None,
    };
    condition::set(&mut of.conditions, new, now);
}

#[cfg(test)]
mod tests;
