//! Enqueues what depends on an object that has changed, where that takes a look into an index.

use kube::{
    Resource, ResourceExt,
    runtime::reflector::{Lookup, ObjectRef},
};

use crate::{
    cache::Cache,
    k8s::Enqueuer,
    objects::{
        metadata::{Identity, controller_of_kind},
        secret_meta::SecretMeta,
    },
};

/// Enqueues the Certificates that name the Secret, the one whose next key it holds, and the issuers whose account key it holds.
pub(super) fn enqueue_by_secret(cache: &Cache, secret: &SecretMeta) {
    let namespace = secret.namespace();
    let enqueuer = cache.certificates.enqueuer();
    for name in cache.certificates_of_secret(namespace, secret.name()) {
        enqueuer.enqueue_named(&name, Some(namespace));
    }
    if let Some(owner) = &secret.owner {
        enqueuer.enqueue_named(&owner.name, Some(namespace));
    }
    for name in cache.indexes.issuers_by_secret.names(namespace, secret.name()) {
        cache.issuers.enqueuer().enqueue_named(&name, Some(namespace));
    }
    if namespace == cache.cluster_resource_namespace {
        for name in cache.indexes.cluster_issuers_by_secret.names("", secret.name()) {
            cache.cluster_issuers.enqueuer().enqueue_named(&name, None);
        }
    }
}

/// Enqueues the Orders in progress of a Certificate.
pub(super) fn enqueue_orders(cache: &Cache, namespace: &str, certificate: &str) {
    let requests = cache.requests.store();
    for request in cache.indexes.requests_by_certificate.names(namespace, certificate) {
        // Those that are final are packed.
        let Some(request) = requests.unpacked(&ObjectRef::new(&request).within(namespace)) else { continue };
        for order in cache.indexes.orders_by_request.names(namespace, request.uid_or_empty()) {
            cache.orders.enqueuer().enqueue_named(&order, Some(namespace));
        }
    }
}

/// Enqueues what waits for an issuer that has changed.
pub(super) fn enqueue_waiting_for_issuer(cache: &Cache, kind: &str, name: &str, namespace: Option<&str>) {
    fn enqueue<K: Lookup<DynamicType = ()>>(names: Vec<(String, String)>, enqueuer: &Enqueuer<K>) {
        for (namespace, name) in names {
            enqueuer.enqueue_named(&name, Some(&namespace));
        }
    }
    let indexes = &cache.indexes;
    enqueue(indexes.requests_by_issuer.names(kind, name, namespace), cache.requests.enqueuer());
    enqueue(indexes.orders_by_issuer.names(kind, name, namespace), cache.orders.enqueuer());
    enqueue(indexes.challenges_by_issuer.names(kind, name, namespace), cache.challenges.enqueuer());
}

/// Enqueues the controller of an object, if it is of the enqueuer's kind.
pub(super) fn enqueue_owner<K, O>(enqueuer: &Enqueuer<O>, object: &K)
where
    K: Resource<DynamicType = ()>,
    O: Resource<DynamicType = ()>,
{
    if let Some(owner) = controller_of_kind::<O>(object.meta()) {
        enqueuer.enqueue_named(&owner.name, ResourceExt::namespace(object).as_deref());
    }
}
