//! Certificates at rest: nothing is to be done for them until a time, unless something changes.
//!
//! That is nearly all of them, nearly always. So what is kept of each is little: no copy of what stands in its Secret, no
//! place in a controller's queue.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

/// Namespace and name.
type Key = (Box<str>, Box<str>);

/// That nothing is to be done until a time, unless something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// A hash of all that was looked at.
    pub seen: u64,
    /// UTC.
    pub until: Timestamp,
}

/// All that are at rest, by namespace and name. Lost with the process: each is looked at once then.
#[derive(Debug, Default)]
pub struct Resting(Mutex<HashMap<Key, Rest>>);

impl Resting {
    /// Whether one is at rest, and how.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Rest> {
        self.all().get(&key(namespace, name)).copied()
    }

    /// One is at rest.
    pub fn put(&self, namespace: &str, name: &str, rest: Rest) {
        self.all().insert(key(namespace, name), rest);
    }

    /// One is at rest no longer, or is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.all().remove(&key(namespace, name));
    }

    /// Takes out those whose rest is over.
    pub fn rise(&self, now: Timestamp) -> Vec<Key> {
        self.all().extract_if(|_, rest| rest.until <= now).map(|(key, _)| key).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_rests_rises_once_when_it_is_time() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let resting = Resting::default();
        for (name, until) in [("a", 10), ("b", 20)] {
            resting.put("default", name, Rest { seen: 1, until: at(until) });
        }
        assert!(resting.rise(at(9)).is_empty());
        assert_eq!(resting.rise(at(10)), [key("default", "a")]);
        assert_eq!(resting.get("default", "a"), None);
        assert_eq!(resting.get("default", "b").map(|rest| rest.until), Some(at(20)));
        resting.forget("default", "b");
        assert!(resting.rise(at(30)).is_empty());
    }
}
