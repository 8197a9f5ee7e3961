//! A map whose content may be lost.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard},
};

use crate::sync::lock;

/// A map that is shared by all controllers and lost with the process.
#[derive(Debug)]
pub struct EphemeralMap<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for EphemeralMap<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> EphemeralMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.locked().get(key).cloned()
    }

    /// The value of a key, which is made if there is none.
    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> V) -> V {
        self.locked().entry(key).or_insert_with(make).clone()
    }

    /// Stores a value.
    pub fn put(&self, key: K, value: V) {
        self.locked().insert(key, value);
    }

    /// Keeps only the entries that a condition selects.
    pub fn retain(&self, keep: impl Fn(&K, &V) -> bool) {
        self.locked().retain(|key, value| keep(key, value));
    }

    /// Removes a key; returns its value.
    pub fn forget<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.locked().remove(key)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<K, V>> {
        lock(&self.0)
    }
}
