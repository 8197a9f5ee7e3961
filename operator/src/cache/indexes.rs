//! Secondary indexes, updated by the watches before they enqueue dependent objects.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Mutex,
};

use crds::{
    acme::{Challenge, Order},
    annotations::{challenge::TOKEN_LABEL, request::CERTIFICATE_NAME},
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer},
    gateway::{Gateway, HttpRoute, Listener, ListenerSet},
    meta::{CLUSTER_ISSUER_KIND, IssuerRef},
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Resource, ResourceExt};

use super::{ByNamespace, Gauges};
use crate::{
    decision::{order, request, shim::parent_namespace},
    objects::metadata::{Identity, controller_of, controller_of_kind},
    sync::lock,
};

/// The indexes that controllers look objects up in.
#[derive(Default)]
pub struct Indexes {
    /// Certificates by the name of the Secret in their spec.
    pub certificates_by_secret: Index,
    /// Certificates with keystores, by namespace.
    pub certificates_with_keystores: ByNamespace,
    /// What `/metrics` says about Certificates.
    pub certificate_gauges: Gauges,
    /// Certificates by the UID of their controller, of whatever kind: the Ingress that they were created for, for example.
    pub certificates_by_owner: Index,
    /// Ingresses by the name of a Secret in their TLS blocks.
    pub ingresses_by_secret: Index,
    /// Gateways by the name of a Secret in their listeners.
    pub gateways_by_secret: Index,
    /// ListenerSets by the name of a Secret in their listeners.
    pub listener_sets_by_secret: Index,
    /// ListenerSets, each as `<namespace>/<name>`, by the namespace and name of their Gateway.
    pub listener_sets_by_gateway: Index,
    /// HTTPRoutes of Challenges by the label of the token.
    pub http_routes_by_token: Index,
    /// CertificateRequests by the name of the Certificate that an annotation names, with any owner.
    pub requests_by_certificate: Index,
    /// Orders by the UID of their CertificateRequest.
    pub orders_by_request: Index,
    /// CertificateRequests that are not final, by their issuer.
    pub requests_by_issuer: IssuerIndex,
    /// Orders that are not final, by their issuer.
    pub orders_by_issuer: IssuerIndex,
    /// Challenges by their issuer.
    pub challenges_by_issuer: IssuerIndex,
    /// Challenges by the UID of their Order.
    pub challenges_by_order: Index,
    /// Challenges by namespace.
    pub challenges_by_namespace: ByNamespace,
    /// The operator's EndpointSlices by namespace.
    pub routed_slices_by_namespace: ByNamespace,
    /// Issuers by the name of the Secret with their account's key.
    pub issuers_by_secret: Index,
    /// ClusterIssuers by the name of the Secret with their account's key.
    pub cluster_issuers_by_secret: Index,
}

impl Indexes {
    /// Adds an object. Its earlier version has to be removed before.
    pub fn put<K: Indexed>(&self, object: &K) {
        let (namespace, name) = (object.namespace_or_empty(), &object.name_any());
        for (index, key) in object.keys(self) {
            index.put(namespace, key, name);
        }
        if let Some((index, issuer)) = object.waits_for(self) {
            index.put(issuer, namespace, name);
        }
        object.note(self, true);
    }

    /// Removes an object.
    pub fn remove<K: Indexed>(&self, object: &K) {
        let (namespace, name) = (object.namespace_or_empty(), &object.name_any());
        for (index, key) in object.keys(self) {
            index.remove(namespace, key, name);
        }
        if let Some((index, issuer)) = object.waits_for(self) {
            index.remove(issuer, namespace, name);
        }
        object.note(self, false);
    }
}

/// A kind whose objects are found by something other than their name.
pub trait Indexed: Resource {
    /// The indexes that have an object, and under which key.
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)>;

    /// The issuer whose changes concern an object, and the index that knows it.
    fn waits_for<'a>(&'a self, _: &'a Indexes) -> Option<(&'a IssuerIndex, &'a IssuerRef)> {
        None
    }

    /// Notes in other indexes whether an object exists.
    fn note(&self, _: &Indexes, _exists: bool) {}
}

impl Indexed for Certificate {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        let by_owner =
            controller_of(&self.metadata).map(|owner| (&indexes.certificates_by_owner, &*owner.uid));
        let by_secret = (&indexes.certificates_by_secret, &*self.spec.secret_name);
        by_owner.into_iter().chain([by_secret]).collect()
    }

    fn note(&self, indexes: &Indexes, exists: bool) {
        indexes.certificates_with_keystores.note(self, exists && self.spec.keystores.is_some());
        indexes.certificate_gauges.note(self, exists);
    }
}

impl Indexed for Ingress {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        secrets(self).map(|secret| (&indexes.ingresses_by_secret, secret)).collect()
    }
}

impl Indexed for Gateway {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        secrets_of(&self.spec.listeners).map(|secret| (&indexes.gateways_by_secret, secret)).collect()
    }
}

impl Indexed for ListenerSet {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        secrets_of(&self.spec.listeners).map(|secret| (&indexes.listener_sets_by_secret, secret)).collect()
    }

    fn note(&self, indexes: &Indexes, exists: bool) {
        let (namespace, gateway) = (parent_namespace(self), &self.spec.parent_ref.name);
        let name = format!("{}/{}", self.namespace_or_empty(), self.name_any());
        let index = &indexes.listener_sets_by_gateway;
        if exists {
            index.put(namespace, gateway, &name);
        } else {
            index.remove(namespace, gateway, &name);
        }
    }
}

impl Indexed for HttpRoute {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        let token = self.labels().get(TOKEN_LABEL);
        token.map(|token| (&indexes.http_routes_by_token, &**token)).into_iter().collect()
    }
}

impl Indexed for CertificateRequest {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        let certificate = self.annotations().get(CERTIFICATE_NAME);
        certificate
            .map(|certificate| (&indexes.requests_by_certificate, &**certificate))
            .into_iter()
            .collect()
    }

    fn waits_for<'a>(&'a self, indexes: &'a Indexes) -> Option<(&'a IssuerIndex, &'a IssuerRef)> {
        let is_final = self.status.as_ref().is_some_and(request::is_final);
        (!is_final).then_some((&indexes.requests_by_issuer, &self.spec.issuer_ref))
    }
}

impl Indexed for Issuer {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        let acme = self.spec.acme.iter();
        acme.map(|acme| (&indexes.issuers_by_secret, &*acme.private_key_secret_ref.name)).collect()
    }
}

impl Indexed for ClusterIssuer {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        let acme = self.spec.acme.iter();
        acme.map(|acme| (&indexes.cluster_issuers_by_secret, &*acme.private_key_secret_ref.name)).collect()
    }
}

impl Indexed for Order {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        let request = controller_of_kind::<CertificateRequest>(&self.metadata);
        request.map(|request| (&indexes.orders_by_request, &*request.uid)).into_iter().collect()
    }

    fn waits_for<'a>(&'a self, indexes: &'a Indexes) -> Option<(&'a IssuerIndex, &'a IssuerRef)> {
        let is_final = order::is_final(self.status.as_ref().and_then(|status| status.state));
        (!is_final).then_some((&indexes.orders_by_issuer, &self.spec.issuer_ref))
    }
}

impl Indexed for Challenge {
    fn keys<'a>(&'a self, indexes: &'a Indexes) -> Vec<(&'a Index, &'a str)> {
        let order = controller_of_kind::<Order>(&self.metadata);
        order.map(|order| (&indexes.challenges_by_order, &*order.uid)).into_iter().collect()
    }

    fn waits_for<'a>(&'a self, indexes: &'a Indexes) -> Option<(&'a IssuerIndex, &'a IssuerRef)> {
        Some((&indexes.challenges_by_issuer, &self.spec.issuer_ref))
    }
}

/// The Secrets in the TLS blocks of an Ingress.
fn secrets(ingress: &Ingress) -> impl Iterator<Item = &str> {
    let blocks = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
    blocks.filter_map(|block| block.secret_name.as_deref())
}

/// The Secrets of listeners.
fn secrets_of(listeners: &[Listener]) -> impl Iterator<Item = &str> {
    let references = listeners.iter().filter_map(|listener| listener.tls.as_ref());
    references.flat_map(|tls| &tls.certificate_refs).map(|reference| &*reference.name)
}

/// Names of objects by a property that they have, within a namespace.
///
/// An index may return too many names, so callers check what they find: two keys may share a hash. Only hashes of the keys are stored, so
/// an entry takes a few dozen bytes per object.
#[derive(Default)]
pub struct Index {
    hasher: RandomState,
    names: Mutex<HashMap<u64, Vec<Box<str>>>>,
}

impl Index {
    /// Adds a name to a key, once.
    pub fn put(&self, namespace: &str, key: &str, name: &str) {
        let mut index = lock(&self.names);
        let names =
            index.entry(self.hasher.hash_one((namespace, key))).or_insert_with(|| Vec::with_capacity(1));
        if let Err(position) = names.binary_search_by(|known| (**known).cmp(name)) {
            names.insert(position, name.into());
        }
    }

    /// Removes a name from a key.
    pub fn remove(&self, namespace: &str, key: &str, name: &str) {
        let hash = self.hasher.hash_one((namespace, key));
        let mut index = lock(&self.names);
        if let Some(names) = index.get_mut(&hash) {
            names.retain(|known| **known != *name);
            if names.is_empty() {
                index.remove(&hash);
            }
        }
    }

    /// The names of a key, in alphabetical order.
    pub fn names(&self, namespace: &str, key: &str) -> Vec<String> {
        self.first_names(namespace, key, usize::MAX)
    }

    /// The first names of a key in alphabetical order, at most so many.
    pub fn first_names(&self, namespace: &str, key: &str, most: usize) -> Vec<String> {
        let index = lock(&self.names);
        let names = index.get(&self.hasher.hash_one((namespace, key)));
        names.into_iter().flatten().take(most).map(ToString::to_string).collect()
    }
}

/// Names and namespaces of objects by the issuer that they refer to.
#[derive(Default)]
pub struct IssuerIndex(Index);

impl IssuerIndex {
    /// What refers to an issuer, as pairs of namespace and name. A ClusterIssuer has no namespace.
    pub fn names(&self, kind: &str, issuer: &str, namespace: Option<&str>) -> Vec<(String, String)> {
        let names = self.0.names(namespace.unwrap_or_default(), &format!("{kind}/{issuer}"));
        let pair = |name: &String| {
            let (namespace, name) = name.split_once('/')?;
            Some((namespace.to_owned(), name.to_owned()))
        };
        names.iter().filter_map(pair).collect()
    }

    fn put(&self, issuer: &IssuerRef, namespace: &str, name: &str) {
        let (of, key) = Self::key(issuer, namespace);
        self.0.put(of, &key, &format!("{namespace}/{name}"));
    }

    fn remove(&self, issuer: &IssuerRef, namespace: &str, name: &str) {
        let (of, key) = Self::key(issuer, namespace);
        self.0.remove(of, &key, &format!("{namespace}/{name}"));
    }

    /// The namespace of an issuer, and the rest of what identifies it. An issuer of another group gets a key that is never looked up.
    fn key<'a>(issuer: &IssuerRef, namespace: &'a str) -> (&'a str, String) {
        let identity = issuer.identity();
        let namespace = if identity.kind == CLUSTER_ISSUER_KIND { "" } else { namespace };
        let is_ours = identity.group == crds::GROUP;
        let group = if is_ours { String::new() } else { format!("{}/", identity.group) };
        (namespace, format!("{group}{}/{}", identity.kind, identity.name))
    }
}

#[cfg(test)]
mod tests {
    use crds::fixtures;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    #[test]
    fn certificates_are_found_by_secret_until_deleted() {
        let indexes = Indexes::default();
        let certificate = |name: &str| {
            fixtures::certificate(name, |it| {
                it.metadata.namespace = Some("a".to_owned());
                it.spec.secret_name = "tls".to_owned();
            })
        };
        for name in ["one", "two", "one"] {
            indexes.put(&certificate(name));
        }
        let found = || {
            let mut names = indexes.certificates_by_secret.names("a", "tls");
            names.sort();
            names
        };
        assert_eq!(found(), ["one", "two"]);
        assert!(indexes.certificates_by_secret.names("b", "tls").is_empty());
        indexes.remove(&certificate("one"));
        assert_eq!(found(), ["two"]);
        indexes.remove(&certificate("two"));
        assert!(found().is_empty(), "a deleted Certificate is still found");
        let left = indexes.certificates_by_secret.names.lock().expect("no panic while it was locked").len();
        assert_eq!(left, 0, "keys without names must not take memory");
    }

    #[test]
    fn owners_of_every_kind_are_indexed() {
        let indexes = Indexes::default();
        for (kind, uid) in [("Ingress", "1"), ("Gateway", "2")] {
            let owner = OwnerReference {
                kind: kind.to_owned(),
                uid: uid.to_owned(),
                controller: Some(true),
                ..OwnerReference::default()
            };
            indexes.put(&fixtures::certificate(kind, |it| {
                it.metadata.namespace = Some("a".to_owned());
                it.metadata.owner_references = Some(vec![owner]);
            }));
        }
        assert_eq!(indexes.certificates_by_owner.names("a", "1"), ["Ingress"]);
        assert_eq!(indexes.certificates_by_owner.names("a", "2"), ["Gateway"]);
    }

    #[test]
    fn names_are_in_order_and_can_be_limited() {
        let index = Index::default();
        for name in ["c", "a", "b", "a"] {
            index.put("a", "tls", name);
        }
        assert_eq!(index.names("a", "tls"), ["a", "b", "c"]);
        assert_eq!(index.first_names("a", "tls", 2), ["a", "b"]);
    }

    /// A tenant may change the name of a Secret again and again.
    #[test]
    fn earlier_versions_take_no_memory() {
        let indexes = Indexes::default();
        let certificate = |secret: &str| {
            fixtures::certificate("one", |it| {
                it.metadata.namespace = Some("a".to_owned());
                it.spec.secret_name = secret.to_owned();
            })
        };
        indexes.put(&certificate("first"));
        for number in 0..100 {
            indexes.remove(&certificate(if number == 0 { "first" } else { "second" }));
            indexes.put(&certificate("second"));
        }
        assert!(indexes.certificates_by_secret.names("a", "first").is_empty());
        assert_eq!(indexes.certificates_by_secret.names("a", "second"), ["one"]);
        assert_eq!(lock(&indexes.certificates_by_secret.names).len(), 1);
    }

    #[test]
    fn waiting_objects_are_found_by_issuer() {
        let indexes = Indexes::default();
        let request = |namespace: &str, kind: &str, is_final: bool| {
            fixtures::certificate_request("web-1", |it| {
                it.metadata.namespace = Some(namespace.to_owned());
                it.spec.issuer_ref =
                    IssuerRef { name: "ca".to_owned(), kind: Some(kind.to_owned()), group: None };
                if is_final {
                    let ready =
                        serde_json::json!([{ "type": "Ready", "status": "True", "reason": "Issued" }]);
                    it.status = serde_json::from_value(serde_json::json!({ "conditions": ready })).ok();
                }
            })
        };
        let found = |kind, namespace| indexes.requests_by_issuer.names(kind, "ca", namespace);
        let pair = |namespace: &str| (namespace.to_owned(), "web-1".to_owned());
        indexes.put(&request("a", "Issuer", false));
        indexes.put(&request("b", CLUSTER_ISSUER_KIND, false));
        indexes.put(&request("c", CLUSTER_ISSUER_KIND, true));
        assert_eq!(found("Issuer", Some("a")), [pair("a")]);
        assert_eq!(found(CLUSTER_ISSUER_KIND, None), [pair("b")], "what is final does not wait");
        assert!(found("Issuer", Some("b")).is_empty());
        indexes.remove(&request("b", CLUSTER_ISSUER_KIND, false));
        indexes.put(&request("b", CLUSTER_ISSUER_KIND, true));
        assert!(found(CLUSTER_ISSUER_KIND, None).is_empty());
    }
}
