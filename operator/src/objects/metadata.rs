//! Owners, labels and annotations: the metadata that every builder and controller handles alike.
//!
//! Knows how an object refers to its owner; must not know what any kind of object is for. Next: `names.rs`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt, api::ObjectMeta};

/// Prefixes of annotations that are not copied to other objects, because they describe the object that they are on.
const UNCOPIED_ANNOTATION_PREFIXES: [&str; 3] =
    ["kubectl.kubernetes.io/", "fluxcd.io/", "argocd.argoproj.io/"];

/// What identifies an object, as text for keys, lookups and messages.
pub trait Identity {
    /// The namespace; empty for a cluster-scoped object.
    fn namespace_or_empty(&self) -> &str;

    /// The UID; empty for an object that the API server has not stored yet.
    fn uid_or_empty(&self) -> &str;
}

impl<K: Resource> Identity for K {
    fn namespace_or_empty(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    fn uid_or_empty(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }
}

/// The reference that makes `owner` the controller of an object. `None` if `owner` has no name or UID yet.
pub fn controller<K>(owner: &K) -> Option<OwnerReference>
where
    K: Resource<DynamicType = ()>,
{
    let mut reference = owner.controller_owner_ref(&())?;
    reference.block_owner_deletion = Some(true);
    Some(reference)
}

/// Metadata of an object in the namespace of `owner`, which becomes its controller.
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

/// The controller of an object, of whatever kind. The API server accepts at most one.
pub fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The controller of an object, if it is of the kind `K`.
pub fn controller_of_kind<K>(metadata: &ObjectMeta) -> Option<&OwnerReference>
where
    K: Resource<DynamicType = ()>,
{
    controller_of(metadata).filter(|owner| is_of_kind::<K>(owner))
}

/// Whether an owner is of the kind `K`. Other groups may have a kind of the same name.
pub fn is_of_kind<K>(owner: &OwnerReference) -> bool
where
    K: Resource<DynamicType = ()>,
{
    let (group, _) = owner.api_version.split_once('/').unwrap_or_default();
    owner.kind == K::kind(&()) && group == K::group(&())
}

/// The annotations that an object passes on to the objects that are created for it.
pub fn copied_annotations(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_copied = |name: &str| !UNCOPIED_ANNOTATION_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    annotations
        .iter()
        .filter(|(name, _)| is_copied(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Whether labels or annotations contain the `expected` ones. Others may be there: users and other controllers own them.
pub fn includes(all: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) -> bool {
    expected.iter().all(|(name, value)| all.get(name) == Some(value))
}

/// `None` for an empty map, which the API server does not store.
pub fn non_empty<K, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    (!map.is_empty()).then_some(map)
}
