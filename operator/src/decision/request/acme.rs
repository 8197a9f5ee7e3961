//! An approved request to an ACME issuer: create its Order, then mirror the Order's result in the request's status.
//!
//! Knows what an ACME server can sign; must not know how an Order is processed. Next: `decision/order.rs`.

use crds::{
    acme::{AcmeIssuer, Order, State},
    annotations,
    certmanager::CertificateRequest,
    condition::ConditionStatus,
};
use kube::{Resource, ResourceExt};

use super::{Action, Decision, View, WAITING};
use crate::{
    decision::{
        certificate::{Cause, DEFAULT_USAGES},
        order::is_final,
        problem::with_time,
    },
    objects::{
        self,
        metadata::{Identity, controller_of, controller_of_kind},
    },
    pki::{Chain, Csr},
    reason::Reason,
};

impl Decision<'_> {
    pub(super) fn sign_by_acme(&mut self, acme: &AcmeIssuer, account: Option<&str>) {
        let csr = match valid_csr(self.view) {
            Ok(csr) => csr,
            Err(message) => return self.invalid(message),
        };
        if let Err(message) = check_names(csr) {
            return self.fail(message);
        }
        match self.view.order {
            None => match csr.verify() {
                Ok(()) => self.create_order(acme, account, csr),
                Err(error) => self.invalid(error.to_string()),
            },
            Some(order) if self.owns(order) && is_stranded(order, account) => {
                self.actions.push(Action::DeleteOrder(order.name_any()));
            }
            Some(order) if self.owns(order) => self.mirror_order(order, csr),
            Some(order) => self.take_over(order),
        }
    }

    fn owns(&self, order: &Order) -> bool {
        let (request, owner) = (self.view.request, controller_of_kind::<CertificateRequest>(&order.metadata));
        owner.is_some_and(|owner| owner.uid == request.uid_or_empty())
            && objects::order::has_csr_of(order, request)
    }

    /// An Order with the right name and another owner, or none: a request of the same name was deleted without its Order, or a
    /// backup was restored.
    fn take_over(&mut self, order: &Order) {
        let (request, name) = (self.view.request, order.name_any());
        let is_left_behind = controller_of(&order.metadata).is_none_or(|owner| {
            owner.kind == CertificateRequest::kind(&()) && owner.name == request.name_any()
        });
        if !is_left_behind {
            self.wait(format!(
                "the Order {name:?} belongs to another object: delete it to let this request continue"
            ));
        } else if objects::order::has_csr_of(order, request)
            && order.spec.issuer_ref.identity() == request.spec.issuer_ref.identity()
        {
            self.actions.push(Action::AdoptOrder(name));
        } else {
            self.actions.push(Action::DeleteOrder(name));
        }
    }

    fn create_order(&mut self, acme: &AcmeIssuer, account: Option<&str>, csr: &Csr) {
        // Each is another order at the CA. A user who may delete Orders must not exhaust the account's limits.
        let pace = self.view.pace.map(|pace| (pace.requests(), pace.next(Cause::Other)));
        if let Some((orders, until)) = pace.filter(|(_, until)| *until > self.view.now) {
            let cause = format!(
                "the Order of this request was deleted {orders} times in a row, so the next one waits. Find out what deletes it"
            );
            return self.wait(with_time(cause, until));
        }
        let replaces = self.view.request.annotations().get(annotations::request::REPLACES).cloned();
        let order = objects::order::build(self.view.request, acme, account, csr, replaces);
        // Writes the status first, so that the request is approved before its Order exists.
        self.wait(self.waiting_for(&order.name_any(), None));
        self.actions.push(Action::CreateOrder(Box::new(order)));
    }

    fn mirror_order(&mut self, order: &Order, csr: &Csr) {
        let name = order.name_any();
        let status = order.status.clone().unwrap_or_default();
        match (status.state, status.certificate) {
            (Some(State::Valid), Some(chain)) => match Chain::from_pem(&chain.0) {
                Ok(read) if read.leaf().public_key_der == csr.public_key_der => {
                    self.status.certificate = Some(chain);
                    let message = "Certificate fetched from issuer successfully".to_owned();
                    self.finish(ConditionStatus::True, Reason::Issued, message);
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
        let namespace = self.view.request.namespace_or_empty();
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{WAITING} {namespace}/{order}: \"pending\"{reason}")
    }
}

/// Whether an Order can't be completed because the issuer's account has changed since it was placed.
fn is_stranded(order: &Order, account: Option<&str>) -> bool {
    let state = order.status.as_ref().and_then(|status| status.state);
    !is_final(state) && objects::order::is_of_another_account(order, account)
}

/// The CSR of a request, if it is what the other fields of the request say, by which an approver may have judged it.
fn valid_csr<'a>(view: &View<'a>) -> Result<&'a Csr, String> {
    let (request, csr) = (view.request, view.csr.map_err(ToString::to_string)?);
    let usages = request.spec.usages.as_deref().filter(|usages| !usages.is_empty());
    if !csr.allows_usages(usages.unwrap_or(&DEFAULT_USAGES)) {
        return Err("the key usages in the CSR differ from spec.usages: create a request in which they are the same, or whose CSR \
                    has none"
            .to_owned());
    }
    let is_ca = request.spec.is_ca.unwrap_or_default();
    if csr.is_ca().is_some_and(|in_csr| in_csr != is_ca) {
        return Err(format!(
            "the basic constraints in the CSR differ from spec.isCA, which is {is_ca}: create a request in which they are the same"
        ));
    }
    Ok(csr)
}

/// Whether an ACME server can sign the names of a CSR.
fn check_names(csr: &Csr) -> Result<(), String> {
    if csr.dns_names.is_empty() && csr.ip_addresses.is_empty() {
        return Err("The CSR PEM requests neither dnsNames nor ipAddresses: ACME needs at least one of them"
            .to_owned());
    }
    let name = &csr.common_name;
    let is_listed = name.is_empty()
        || csr.dns_names.contains(name)
        || csr.ip_addresses.iter().any(|address| address.to_string() == *name);
    if is_listed {
        return Ok(());
    }
    Err(format!(
        "The CSR PEM requests a commonName that is not present in the list of dnsNames or ipAddresses. If a commonName \
         is set, ACME requires that the value is also present in the list of dnsNames or ipAddresses: {name:?} does not \
         exist in {:?} or {:?}",
        csr.dns_names, csr.ip_addresses
    ))
}
