//! Which objects of a kind a namespace has, without a search through all.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use kube::{Resource, ResourceExt};

use crate::{objects::metadata::Identity, sync::lock};

/// The names of a kind's objects, by namespace.
#[derive(Default)]
pub struct ByNamespace(Mutex<HashMap<String, HashSet<String>>>);

impl ByNamespace {
    /// Adds an object, or removes one that does not exist any more.
    pub fn note(&self, object: &impl Resource, exists: bool) {
        let mut namespaces = lock(&self.0);
        if exists {
            namespaces.entry(object.namespace_or_empty().to_owned()).or_default().insert(object.name_any());
        } else if let Some(names) = namespaces.get_mut(object.namespace_or_empty()) {
            names.remove(&object.name_any());
            if names.is_empty() {
                namespaces.remove(object.namespace_or_empty());
            }
        }
    }

    /// Whether a namespace has any object.
    pub fn has_any(&self, namespace: &str) -> bool {
        lock(&self.0).contains_key(namespace)
    }

    /// The names of a namespace's objects, in no particular order.
    pub fn names(&self, namespace: &str) -> Vec<String> {
        lock(&self.0).get(namespace).into_iter().flatten().cloned().collect()
    }

    /// The namespaces with any object, in no particular order.
    pub fn namespaces(&self) -> Vec<String> {
        lock(&self.0).keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use crds::{acme::Challenge, fixtures};

    use super::*;

    #[test]
    fn namespaces_are_known_until_their_last_object_is_deleted() {
        let index = ByNamespace::default();
        let challenge = |name: &str, namespace: &str| -> Challenge {
            fixtures::challenge(name, |it| it.metadata.namespace = Some(namespace.to_owned()))
        };
        for (name, namespace) in [("one", "a"), ("two", "a"), ("one", "b"), ("one", "a")] {
            index.note(&challenge(name, namespace), true);
        }
        assert_eq!(index.names("b"), ["one"]);
        index.note(&challenge("one", "a"), false);
        index.note(&challenge("one", "b"), false);
        assert!(index.has_any("a") && !index.has_any("b"));
        assert_eq!((index.names("a"), index.namespaces()), (vec!["two".to_owned()], vec!["a".to_owned()]));
        index.note(&challenge("unknown", "c"), false);
        index.note(&challenge("two", "a"), false);
        assert!(index.namespaces().is_empty());
    }
}
