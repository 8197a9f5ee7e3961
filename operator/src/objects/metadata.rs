//! What all objects that are made for others have in common: names, owners, labels.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt, api::ObjectMeta};

/// Annotations that are not handed on from one object to the next: they are about the object that they stand on.
const KEPT_BACK: [&str; 3] = ["kubectl.kubernetes.io/", "fluxcd.io/", "argocd.argoproj.io/"];

/// The owner of whatever is made for an object that the API server knows; the controller of it.
pub fn controller<K>(owner: &K) -> Option<OwnerReference>
where
    K: Resource<DynamicType = ()>,
{
    let mut reference = owner.controller_owner_ref(&())?;
    reference.block_owner_deletion = Some(true);
    Some(reference)
}

/// Metadata of an object in the namespace of its owner.
pub fn owned<K>(name: &str, owner: &K) -> ObjectMeta
where
    K: Resource<DynamicType = ()>,
{
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: owner.namespace(),
        owner_references: controller(owner).map(|reference| vec![reference]),
        ..ObjectMeta::default()
    }
}

/// The UID of the controller of an object, if that is of a kind.
pub fn controlled_by<'a>(metadata: &'a ObjectMeta, kind: &str) -> Option<&'a OwnerReference> {
    let references = metadata.owner_references.as_ref()?;
    references.iter().find(|owner| owner.controller == Some(true) && owner.kind == kind)
}

/// The annotations that go from an object to what is made for it.
pub fn handed_on(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations
        .iter()
        .filter(|(name, _)| !KEPT_BACK.iter().any(|prefix| name.starts_with(prefix)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Whether labels or annotations have these among them; what others add is theirs.
pub fn includes(all: &BTreeMap<String, String>, these: &BTreeMap<String, String>) -> bool {
    these.iter().all(|(name, value)| all.get(name) == Some(value))
}

/// A map, or none if there is nothing in it: what the API server stores.
pub fn some<K, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    (!map.is_empty()).then_some(map)
}
