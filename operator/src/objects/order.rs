//! The Order of a CertificateRequest.

use std::borrow::Cow;

use crds::{
    acme::{AcmeIssuer, Order, OrderSpec},
    annotations,
    certmanager::{Certificate, CertificateRequest},
};
use kube::ResourceExt;

use super::{
    metadata::{copied_annotations, non_empty, owned},
    names,
};
use crate::pki::Csr;

/// The Order for a request to an ACME issuer. `replaces` is the identifier of the certificate that it renews
/// ([RFC 9773 section 4.1](https://www.rfc-editor.org/rfc/rfc9773#section-4.1)), and `account` the URL of the issuer's account.
pub fn build(
    of: &CertificateRequest,
    issuer: &AcmeIssuer,
    account: Option<&str>,
    csr: &Csr,
    replaces: Option<String>,
) -> Order {
    let list = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let spec = OrderSpec {
        common_name: Some(csr.common_name.clone()).filter(|name| !name.is_empty()),
        dns_names: list(csr.dns_names.clone()),
        duration: of.spec.duration.filter(|_| issuer.enable_duration_feature == Some(true)),
        ip_addresses: list(csr.ip_addresses.iter().map(ToString::to_string).collect()),
        issuer_ref: of.spec.issuer_ref.clone(),
        profile: issuer.profile.clone().filter(|profile| !profile.is_empty()),
        replaces,
        request: of.spec.request.clone(),
    };
    let name = names::order(&of.name_any(), &spec);
    let mut order = Order::new(&name, spec);
    order.metadata = owned(&name, of);
    let mut annotations = copied_annotations(of.annotations());
    annotations.extend(account.map(|account| (annotations::order::ACCOUNT.to_owned(), account.to_owned())));
    order.metadata.annotations = non_empty(annotations);
    order.metadata.labels = non_empty(of.labels().clone());
    order
}

/// The annotations of a Certificate that say how its challenges are routed: by Ingresses, and by HTTPRoutes.
const ROUTING: [[&str; 3]; 2] = [
    [
        annotations::request::OVERRIDE_INGRESS_NAME,
        annotations::request::OVERRIDE_INGRESS_CLASS,
        annotations::request::OVERRIDE_INGRESS_CLASS_NAME,
    ],
    [
        annotations::request::PARENT_REF_KIND,
        annotations::request::PARENT_REF_NAME,
        annotations::request::PARENT_REF_NAMESPACE,
    ],
];

/// An Order whose challenges are routed as the annotations of its Certificate say now: it has those of when it was created, and a user
/// may correct them while it waits. Those that only its request has stay.
pub fn with_routing_of<'a>(order: &'a Order, certificate: &Certificate) -> Cow<'a, Order> {
    let says = |group: &&[&str; 3]| group.iter().any(|name| certificate.annotations().contains_key(*name));
    let names = || ROUTING.iter().filter(says).flatten().copied();
    if names().all(|name| order.annotations().get(name) == certificate.annotations().get(name)) {
        return Cow::Borrowed(order);
    }
    let mut order = order.clone();
    let all = order.annotations_mut();
    for name in names() {
        match certificate.annotations().get(name) {
            Some(value) => all.insert(name.to_owned(), value.clone()),
            None => all.remove(name),
        };
    }
    Cow::Owned(order)
}

/// Whether an Order has the CSR of a request. The cache keeps one that is final without its CSR, which is then the one of its owner.
pub fn has_csr_of(order: &Order, request: &CertificateRequest) -> bool {
    order.spec.request.0.is_empty() || order.spec.request == request.spec.request
}

/// Whether an Order was created for another account than the one of its issuer, which has changed since then.
pub fn is_of_another_account(order: &Order, account: Option<&str>) -> bool {
    let of = order.annotations().get(annotations::order::ACCOUNT);
    of.zip(account).is_some_and(|(of, account)| of != account)
}

#[cfg(test)]
mod tests {
    use crds::{annotations::request, fixtures};

    use super::*;

    /// A user corrects what a waiting Order has copied. Other annotations stay those of the request.
    #[test]
    fn challenges_are_routed_as_the_certificate_says_now() {
        let order = fixtures::order("web", |it| {
            it.annotations_mut().insert(request::PARENT_REF_NAME.into(), "wrong".into());
            it.annotations_mut().insert(request::PARENT_REF_NAMESPACE.into(), "b".into());
            it.annotations_mut().insert(request::OVERRIDE_INGRESS_NAME.into(), "web".into());
            it.annotations_mut().insert(request::CERTIFICATE_REVISION.into(), "1".into());
        });
        let mut certificate = fixtures::certificate("web", |it| {
            it.metadata.annotations.clone_from(&order.metadata.annotations);
            it.annotations_mut().remove(request::CERTIFICATE_REVISION);
        });
        assert!(matches!(with_routing_of(&order, &certificate), Cow::Borrowed(_)), "nothing has changed");
        certificate.annotations_mut().insert(request::PARENT_REF_NAME.into(), "right".into());
        certificate.annotations_mut().remove(request::PARENT_REF_NAMESPACE);
        certificate.annotations_mut().remove(request::OVERRIDE_INGRESS_NAME);
        let routed = with_routing_of(&order, &certificate).into_owned();
        assert_eq!(routed.annotations().get(request::PARENT_REF_NAME).map(String::as_str), Some("right"));
        assert!(!routed.annotations().contains_key(request::PARENT_REF_NAMESPACE));
        assert!(routed.annotations().contains_key(request::OVERRIDE_INGRESS_NAME), "only the request has it");
        assert!(routed.annotations().contains_key(request::CERTIFICATE_REVISION));
    }
}
