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
mod tests {
    use crds::fixtures;
    use k8s_openapi::ByteString;

    use super::*;
    use crate::pki::{CsrRequest, Curve, KeyKind, PrivateKey, Subject};

    fn request(change: impl FnOnce(&mut CsrRequest)) -> CertificateRequest {
        let mut csr = CsrRequest { dns_names: vec!["web.example.test".into()], ..CsrRequest::default() };
        change(&mut csr);
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
        let pem = csr.sign_pem(&key).expect("a CSR");
        fixtures::certificate_request("web-1", |it| {
            it.metadata.namespace = Some("a".into());
            it.metadata.uid = Some("1".into());
            it.spec.request = ByteString(pem.into_bytes());
        })
    }

    fn decided(request: &CertificateRequest, issuer: IssuerView<'_>, order: Option<&Order>) -> Vec<Action> {
        decide(&View { request, issuer, order, approves: true, now: Timestamp::UNIX_EPOCH })
    }

    fn ready(actions: &[Action]) -> Option<(ConditionStatus, String, String)> {
        actions.iter().find_map(|action| match action {
            Action::WriteStatus(status) => {
                let ready = condition::find(&status.conditions, condition::READY)?.clone();
                Some((ready.status, ready.reason?, ready.message?))
            }
            _ => None,
        })
    }

    #[test]
    fn it_is_approved_before_anything_is_ordered() {
        let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
        let actions = decided(&request(|_| {}), IssuerView::Acme { acme: &acme, ready: true }, None);
        let [Action::WriteStatus(status), Action::CreateOrder(order)] = actions.as_slice() else {
            panic!("{actions:?}")
        };
        assert!(condition::is_true(&status.conditions, condition::APPROVED));
        assert_eq!(order.spec.dns_names.as_deref(), Some(["web.example.test".to_owned()].as_slice()));
    }

    #[test]
    fn what_is_not_approved_or_not_ours_is_left_alone() {
        let request = request(|_| {});
        assert!(decided(&request, IssuerView::Other, None).is_empty());
        let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
        let issuer = IssuerView::Acme { acme: &acme, ready: true };
        let view =
            View { request: &request, issuer, order: None, approves: false, now: Timestamp::UNIX_EPOCH };
        assert!(decide(&view).is_empty());
    }

    #[test]
    fn a_request_waits_for_its_issuer_and_says_so() {
        let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
        for (issuer, part) in [
            (IssuerView::Missing, "not found"),
            (IssuerView::Acme { acme: &acme, ready: false }, "does not have a Ready status"),
        ] {
            let actions = decided(&request(|_| {}), issuer, None);
            let (status, reason, message) = ready(&actions).expect("a condition");
            assert!(
                status == ConditionStatus::False && reason == "Pending" && message.contains(part),
                "{message}"
            );
            assert_eq!(actions.len(), 1);
        }
    }

    #[test]
    fn a_common_name_must_be_one_of_the_names() {
        let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
        let issuer = IssuerView::Acme { acme: &acme, ready: true };
        let good = request(|csr| csr.subject = Subject::common_name("web.example.test"));
        assert_eq!(ready(&decided(&good, issuer, None)).expect("a condition").1, "Pending");
        for bad in
            [request(|csr| csr.subject = Subject::common_name("x")), request(|csr| csr.dns_names.clear())]
        {
            assert_eq!(ready(&decided(&bad, issuer, None)).expect("a condition").1, "Failed");
        }
    }

    #[test]
    fn nothing_is_ordered_for_a_key_that_did_not_sign() {
        let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
        let mut forged = request(|_| {});
        let mut der = Csr::from_pem(&forged.spec.request.0).expect("a CSR").der;
        // The last byte is one of the signature's.
        *der.last_mut().expect("a signature") ^= 1;
        let pem = ::pem::encode(&::pem::Pem::new("CERTIFICATE REQUEST", der));
        forged.spec.request = ByteString(pem.into_bytes());
        let actions = decided(&forged, IssuerView::Acme { acme: &acme, ready: true }, None);
        let (_, reason, message) = ready(&actions).expect("a condition");
        assert_eq!(
            (&*reason, &*message),
            ("Failed", "failed to read the CSR: it is not signed by the key in it")
        );
        assert!(!actions.iter().any(|action| matches!(action, Action::CreateOrder(_))));
    }

    #[test]
    fn a_failed_order_fails_the_request_in_the_orders_words() {
        let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
        let order = fixtures::order("web-1-x", |it| {
            it.status = Some(crds::acme::OrderStatus {
                state: Some(State::Invalid),
                reason: Some("no such host".into()),
                ..crds::acme::OrderStatus::default()
            });
        });
        let actions = decided(&request(|_| {}), IssuerView::Acme { acme: &acme, ready: true }, Some(&order));
        let (_, reason, message) = ready(&actions).expect("a condition");
        assert_eq!(reason, "Failed");
        assert!(message.ends_with("order is in \"invalid\" state: no such host"), "{message}");
    }
}
