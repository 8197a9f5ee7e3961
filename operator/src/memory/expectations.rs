//! Expectations: what was created or deleted and may not be in the cache yet, as Kubernetes' own controllers keep them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use jiff::Timestamp;

use crate::{decision::retry::EXPECTATION_TTL, sync::lock};

/// Creations and deletions that the cache may not show yet, so that they are not repeated.
#[derive(Debug, Default)]
pub struct Expectations(Mutex<HashMap<String, Timestamp>>);

impl Expectations {
    /// Whether a change was made so recently that the cache may not show it.
    pub fn is_pending(&self, change: &str, now: Timestamp) -> bool {
        self.locked().get(change).is_some_and(|made| is_recent(*made, now))
    }

    /// Records a change that was made now.
    pub fn expect(&self, change: String, now: Timestamp) {
        let mut changes = self.locked();
        changes.retain(|_, made| is_recent(*made, now));
        changes.insert(change, now);
    }

    /// Forgets a change that has been undone.
    pub fn forget(&self, change: &str) {
        self.locked().remove(change);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        lock(&self.0)
    }
}

fn is_recent(made: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(made)).is_ok_and(|age| age < EXPECTATION_TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectation_ends_with_its_ttl() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let expectations = Expectations::default();
        expectations.expect("a".to_owned(), at(0));
        assert!(expectations.is_pending("a", at(1)));
        assert!(!expectations.is_pending("a", at(2)));
        assert!(!expectations.is_pending("b", at(1)));
        expectations.forget("a");
        assert!(!expectations.is_pending("a", at(1)));
    }
}
