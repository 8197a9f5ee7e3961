//! The Order of a CertificateRequest.

use std::borrow::Cow;

use crds::{
    acme::{AcmeIssuer, Order, OrderSpec},
    annotations,
    certmanager::{Certificate, CertificateRequest},
};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::{
    metadata::{controller, copied_annotations, non_empty, owned},
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

/// What makes an Order, which another request has left behind, one of this request: a merge patch. It is routed as this request says.
pub fn adoption(by: &CertificateRequest) -> Value {
    let routing: Map<_, _> = ROUTING
        .iter()
        .flatten()
        .map(|&name| (name.to_owned(), by.annotations().get(name).cloned().into()))
        .collect();
    json!({ "metadata": { "ownerReferences": [controller(by)], "annotations": routing } })
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

    /// A user removes what an issuance was routed by, and its request is replaced by one with the same CSR.
    #[test]
    fn adopted_order_is_routed_as_its_new_request_says() {
        let request = fixtures::certificate_request("web-1", |it| {
            it.metadata.uid = Some("2".into());
            it.annotations_mut().insert(request::OVERRIDE_INGRESS_CLASS_NAME.into(), "nginx".into());
            it.annotations_mut().insert(request::CERTIFICATE_REVISION.into(), "1".into());
        });
        let mut order = fixtures::order("web-1-x", |it| {
            it.annotations_mut().insert(request::OVERRIDE_INGRESS_NAME.into(), "web".into());
            it.annotations_mut().insert("other".into(), "kept".into());
        });
        let mut metadata = json!(order.metadata);
        json_patch::merge(&mut metadata, &adoption(&request)["metadata"]);
        order.metadata = serde_json::from_value(metadata).expect("metadata");
        assert_eq!(order.owner_references()[0].uid, "2");
        let expected = [("other", "kept"), (request::OVERRIDE_INGRESS_CLASS_NAME, "nginx")];
        let annotations: Vec<_> = order.annotations().iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(annotations.len(), 2, "{annotations:?}");
        assert!(expected.iter().all(|it| annotations.contains(it)), "{annotations:?}");
    }

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
