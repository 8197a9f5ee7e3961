//! What is looked for otherwise than by its name. Kept up by the watches, before anybody is woken.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::Mutex,
};

use crds::{acme::Challenge, certmanager::Certificate};
use kube::{Resource, ResourceExt};

use crate::{objects::metadata::controlled_by, sync::lock};

/// All of them.
#[derive(Default)]
pub struct Indexes {
    /// Certificates by the Secret that they name.
    pub certificates_by_secret: Index,
    /// Certificates by the UID of the Ingress that they were made for.
    pub certificates_by_ingress: Index,
    /// Challenges by the UID of their Order.
    pub challenges_by_order: Index,
}

impl Indexes {
    /// A Certificate is there, or has changed.
    pub fn put_certificate(&self, certificate: &Certificate) {
        let (name, namespace) = (certificate.name_any(), certificate.namespace().unwrap_or_default());
        self.certificates_by_secret.put(&namespace, &certificate.spec.secret_name, &name);
        if let Some(owner) = controlled_by(certificate.meta(), "Ingress") {
            self.certificates_by_ingress.put(&namespace, &owner.uid, &name);
        }
    }

    /// A Certificate is gone.
    pub fn remove_certificate(&self, certificate: &Certificate) {
        let (name, namespace) = (certificate.name_any(), certificate.namespace().unwrap_or_default());
        self.certificates_by_secret.remove(&namespace, &certificate.spec.secret_name, &name);
        if let Some(owner) = controlled_by(certificate.meta(), "Ingress") {
            self.certificates_by_ingress.remove(&namespace, &owner.uid, &name);
        }
    }

    /// A Challenge is there.
    pub fn put_challenge(&self, challenge: &Challenge) {
        if let Some(owner) = controlled_by(challenge.meta(), "Order") {
            let namespace = challenge.namespace().unwrap_or_default();
            self.challenges_by_order.put(&namespace, &owner.uid, &challenge.name_any());
        }
    }

    /// A Challenge is gone.
    pub fn remove_challenge(&self, challenge: &Challenge) {
        if let Some(owner) = controlled_by(challenge.meta(), "Order") {
            let namespace = challenge.namespace().unwrap_or_default();
            self.challenges_by_order.remove(&namespace, &owner.uid, &challenge.name_any());
        }
    }
}

/// Names of objects by something that they have, in a namespace. It may name more than have it: what it names is to be looked
/// at. A few dozen bytes for each object, as keys are kept as their hashes.
#[derive(Default)]
pub struct Index {
    hasher: RandomState,
    names: Mutex<HashMap<u64, Vec<Box<str>>>>,
}

impl Index {
    /// Adds a name.
    pub fn put(&self, namespace: &str, key: &str, name: &str) {
        let mut index = lock(&self.names);
        let names =
            index.entry(self.hasher.hash_one((namespace, key))).or_insert_with(|| Vec::with_capacity(1));
        if !names.iter().any(|known| **known == *name) {
            names.push(name.into());
        }
    }

    /// Removes a name.
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

    /// The names, without order.
    pub fn names(&self, namespace: &str, key: &str) -> Vec<String> {
        let index = lock(&self.names);
        let names = index.get(&self.hasher.hash_one((namespace, key)));
        names.into_iter().flatten().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use crds::fixtures;

    use super::*;

    #[test]
    fn certificates_are_found_by_their_secret_until_they_are_gone() {
        let indexes = Indexes::default();
        let certificate = |name: &str| {
            fixtures::certificate(name, |it| {
                it.metadata.namespace = Some("a".to_owned());
                it.spec.secret_name = "tls".to_owned();
            })
        };
        for name in ["one", "two", "one"] {
            indexes.put_certificate(&certificate(name));
        }
        let found = || {
            let mut names = indexes.certificates_by_secret.names("a", "tls");
            names.sort();
            names
        };
        assert_eq!(found(), ["one", "two"]);
        assert!(indexes.certificates_by_secret.names("b", "tls").is_empty());
        indexes.remove_certificate(&certificate("one"));
        assert_eq!(found(), ["two"]);
        indexes.remove_certificate(&certificate("two"));
        assert!(
            found().is_empty() && indexes.certificates_by_secret.names.lock().is_ok_and(|it| it.is_empty())
        );
    }
}
