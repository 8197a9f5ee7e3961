//! What to do about a CertificateRequest: approve it, order, and hand back what came of the Order.

use crds::{
    acme::{AcmeIssuer, Order, State},
    annotations,
    certmanager::{CertificateRequest, CertificateRequestStatus},
    condition::{self, Condition, ConditionStatus},
};
use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    objects::{self, EventNote},
    pki::{Chain, Csr},
};

/// How the message of a request begins that waits for its Order, as cert-manager's does.
pub const WAITING: &str = "Waiting on certificate issuance from order";

/// The issuer that a request names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IssuerView<'a> {
    /// One with an ACME server.
    Acme {
        /// Its spec.
        acme: &'a AcmeIssuer,
        /// Whether its account can be used.
        ready: bool,
    },
    /// There is none.
    Missing,
    /// One of a kind that this operator leaves to others.
    Other,
}

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The request.
    pub request: &'a CertificateRequest,
    /// Its issuer.
    pub issuer: IssuerView<'a>,
    /// Its Order, if there is one.
    pub order: Option<&'a Order>,
    /// Whether requests are approved without anybody's looking.
    pub approves: bool,
    /// UTC.
    pub now: Timestamp,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Writes the status, if it differs.
    WriteStatus(Box<CertificateRequestStatus>),
    /// Orders.
    CreateOrder(Box<Order>),
    /// Deletes an Order whose certificate is for another key.
    DeleteOrder(String),
    /// Tells users.
    Publish(EventNote),
}

/// Decides.
pub fn decide(view: &View<'_>) -> Vec<Action> {
    let request = view.request;
    let status = request.status.clone().unwrap_or_default();
    if request.metadata.deletion_timestamp.is_some() || view.issuer == IssuerView::Other || is_final(&status)
    {
        return Vec::new();
    }
    let mut it = Deciding { view, status, actions: Vec::new() };
    it.decide();
    it.actions
}

/// Whether nothing becomes of a request any more.
pub fn is_final(status: &CertificateRequestStatus) -> bool {
    condition::find(&status.conditions, condition::READY).is_some_and(|ready| {
        ready.status == ConditionStatus::True || matches!(ready.reason.as_deref(), Some("Failed" | "Denied"))
    })
}

struct Deciding<'a> {
    view: &'a View<'a>,
    status: CertificateRequestStatus,
    actions: Vec<Action>,
}

impl Deciding<'_> {
    fn decide(&mut self) {
        if condition::is_true(&self.status.conditions, condition::DENIED) {
            self.status.failure_time = Some(condition::whole_seconds(self.view.now));
            let message = "The CertificateRequest was denied by an approval controller".to_owned();
            return self.end(ConditionStatus::False, "Denied", message);
        }
        if !condition::is_true(&self.status.conditions, condition::APPROVED) {
            if !self.view.approves {
                return;
            }
            let message = "Certificate request has been approved by cert-manager.io".to_owned();
            self.set(condition::APPROVED, ConditionStatus::True, crds::GROUP, message);
        }
        let acme = match self.view.issuer {
            IssuerView::Acme { acme, ready: true } => acme,
            IssuerView::Acme { ready: false, .. } => {
                return self.wait("Referenced issuer does not have a Ready status condition".to_owned());
            }
            IssuerView::Missing => {
                let issuer = self.view.request.spec.issuer_ref.identity();
                return self
                    .wait(format!("Referenced {:?} not found: there is no {:?}", issuer.kind, issuer.name));
            }
            IssuerView::Other => return,
        };
        let csr = match readable(self.view.request) {
            Ok(csr) => csr,
            Err(message) => return self.fail(message),
        };
        match self.view.order {
            None => match csr.verify() {
                Ok(()) => self.order(acme, &csr),
                Err(error) => self.fail(error.to_string()),
            },
            Some(order) => self.follow(order, &csr),
        }
    }

    fn order(&mut self, acme: &AcmeIssuer, csr: &Csr) {
        let replaces = self.view.request.annotations().get(annotations::request::REPLACES).cloned();
        let order = objects::order::build(self.view.request, acme, csr, replaces);
        // Approved before anything is ordered.
        self.wait(self.waiting_for(&order.name_any(), None));
        self.actions.push(Action::CreateOrder(Box::new(order)));
    }

    fn follow(&mut self, order: &Order, csr: &Csr) {
        let name = order.name_any();
        let status = order.status.clone().unwrap_or_default();
        match (status.state, status.certificate) {
            (Some(State::Valid), Some(chain)) => match Chain::from_pem(&chain.0) {
                Ok(read) if read.leaf().public_key_der == csr.public_key_der => {
                    self.status.certificate = Some(chain);
                    let message = "Certificate fetched from issuer successfully".to_owned();
                    self.end(ConditionStatus::True, "Issued", message);
                }
                Ok(_) => self.actions.push(Action::DeleteOrder(name)),
                Err(error) => self.fail(error.to_string()),
            },
            (Some(state @ (State::Invalid | State::Expired | State::Errored)), _) => {
                let state = format!("{state:?}").to_lowercase();
                let reason = status.reason.unwrap_or_default();
                self.fail(format!(
                    "Failed to wait for order resource {name:?} to become ready: order is in {state:?} state: {reason}"
                ));
            }
            _ => self.wait(self.waiting_for(&name, status.reason.as_deref())),
        }
    }

    fn waiting_for(&self, order: &str, reason: Option<&str>) -> String {
        let namespace = self.view.request.namespace().unwrap_or_default();
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{WAITING} {namespace}/{order}: \"pending\"{reason}")
    }

    fn wait(&mut self, message: String) {
        self.set(condition::READY, ConditionStatus::False, "Pending", message);
        self.write();
    }

    fn fail(&mut self, message: String) {
        self.status.failure_time = Some(condition::whole_seconds(self.view.now));
        self.end(ConditionStatus::False, "Failed", message.clone());
        let reason = if self.view.order.is_some() { "OrderFailed" } else { "InvalidOrder" };
        self.actions.push(Action::Publish(EventNote::warning(reason, message)));
    }

    fn end(&mut self, status: ConditionStatus, reason: &str, message: String) {
        self.set(condition::READY, status, reason, message);
        self.write();
    }

    fn write(&mut self) {
        self.actions.push(Action::WriteStatus(Box::new(self.status.clone())));
    }

    fn set(&mut self, type_: &str, status: ConditionStatus, reason: &str, message: String) {
        let new = Condition {
            type_: type_.to_owned(),
            status,
            reason: Some(reason.to_owned()),
            message: Some(message),
            observed_generation: None,
            last_transition_time: None,
        };
        condition::set(&mut self.status.conditions, new, self.view.now);
    }
}

/// The CSR, if an ACME server could take it.
fn readable(request: &CertificateRequest) -> Result<Csr, String> {
    let csr = Csr::from_pem(&request.spec.request.0).map_err(|error| error.to_string())?;
    if csr.dns_names.is_empty() && csr.ip_addresses.is_empty() {
        return Err(
            "The CSR PEM requests neither dnsNames nor ipAddresses: an ACME server issues for nothing else"
                .to_owned(),
        );
    }
    let name = &csr.common_name;
    let among = name.is_empty()
        || csr.dns_names.contains(name)
        || csr.ip_addresses.iter().any(|address| address.to_string() == *name);
    if among {
        return Ok(csr);
    }
    Err(format!(
        "The CSR PEM requests a commonName that is not present in the list of dnsNames or ipAddresses. If a commonName \
         is set, ACME requires that the value is also present in the list of dnsNames or ipAddresses: {name:?} does not \
         exist in {:?} or {:?}",
        csr.dns_names, csr.ip_addresses
    ))
}

#[cfg(test)]
mod tests;
