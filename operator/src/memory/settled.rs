//! Settled Certificates: nothing has to be done for them until a time, unless something changes.
//!
//! Nearly all Certificates are settled nearly all the time, so little is kept of each: no copy of its Secret's content, and no place in a
//! controller's queue.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use jiff::Timestamp;

use crate::sync::lock;

/// Namespace and name.
type Key = (Box<str>, Box<str>);

/// That nothing has to be done for a Certificate until a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// A hash of everything that the decision depended on. A different one means that something has changed.
    pub fingerprint: u64,
    /// When the Certificate is reconciled again, UTC.
    pub until: Timestamp,
}

/// All settled Certificates, by namespace and name. Lost with the process: each is then reconciled once.
#[derive(Debug, Default)]
pub struct SettledCertificates(Mutex<HashMap<Key, Settled>>);

impl SettledCertificates {
    /// How a Certificate is settled, if it is.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Settled> {
        self.locked().get(&key(namespace, name)).copied()
    }

    /// Records that a Certificate is settled.
    pub fn put(&self, namespace: &str, name: &str, settled: Settled) {
        self.locked().insert(key(namespace, name), settled);
    }

    /// Forgets a Certificate that is no longer settled, or was deleted.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.locked().remove(&key(namespace, name));
    }

    /// Removes and returns the Certificates whose time has come, the earliest first.
    pub fn take_due(&self, now: Timestamp) -> Vec<Key> {
        let mut due: Vec<_> = self.locked().extract_if(|_, settled| settled.until <= now).collect();
        due.sort_unstable_by(|(a, settled_a), (b, settled_b)| {
            (settled_a.until, a).cmp(&(settled_b.until, b))
        });
        due.into_iter().map(|(key, _)| key).collect()
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Key, Settled>> {
        lock(&self.0)
    }
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_due_returns_each_once() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let settled = SettledCertificates::default();
        for (name, until) in [("a", 10), ("b", 20), ("d", 7), ("c", 7), ("e", 8)] {
            settled.put("default", name, Settled { fingerprint: 1, until: at(until) });
        }
        assert!(settled.take_due(at(6)).is_empty());
        assert_eq!(settled.take_due(at(9)), ["c", "d", "e"].map(|name| key("default", name)));
        assert_eq!(settled.take_due(at(10)), [key("default", "a")]);
        assert_eq!(settled.get("default", "a"), None);
        assert_eq!(settled.get("default", "b").map(|settled| settled.until), Some(at(20)));
        settled.forget("default", "b");
        assert!(settled.take_due(at(30)).is_empty());
    }
}
