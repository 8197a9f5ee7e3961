//! What a controller has to do: which objects wait, which are being reconciled, and which are reconciled later. An object is never
//! reconciled twice at a time, and waits only once.
//!
//! Knows when and in which order; must not know what a reconcile does. Next: `decision/fair_queue.rs` for the order.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use tokio::time::Instant;

use crate::decision::fair_queue::{FairQueue, Lane, Slots};

/// When an object is due, and a number that tells apart those that are due at the same time.
type Due = (Instant, u64);

/// The work of one controller. `K` names an object; it should be cheap to clone.
#[derive(Debug)]
pub struct WorkQueue<K> {
    ready: FairQueue<K>,
    began: Instant,
    delayed: BTreeMap<Due, K>,
    states: HashMap<K, State>,
    delays: u64,
}

/// Where an object is. One that is unknown has nothing to do.
#[derive(Debug)]
enum State {
    Ready,
    Running {
        lane: Lane,
        /// Whether it was enqueued meanwhile.
        again: bool,
    },
    Delayed(Due),
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// No work yet. Each object that is reconciled takes a slot.
    pub fn new(slots: Slots) -> Self {
        Self {
            ready: FairQueue::new(slots),
            began: Instant::now(),
            delayed: BTreeMap::new(),
            states: HashMap::new(),
            delays: 0,
        }
    }

    /// Enqueues an object, unless it waits already. One that is being reconciled is reconciled again afterwards.
    pub fn enqueue(&mut self, object: K, lane: impl FnOnce(&K) -> Lane) {
        match self.states.get_mut(&object) {
            Some(State::Ready) => return,
            Some(State::Running { again, .. }) => {
                *again = true;
                return;
            }
            Some(State::Delayed(due)) => {
                self.delayed.remove(due);
            }
            None => {}
        }
        self.ready.push(lane(&object), object.clone());
        self.states.insert(object, State::Ready);
    }

    /// Enqueues the objects that are due.
    pub fn wake(&mut self, now: Instant, lane: impl Fn(&K) -> Lane) {
        while let Some(first) = self.delayed.first_entry().filter(|first| first.key().0 <= now) {
            let object = first.remove();
            self.ready.push(lane(&object), object.clone());
            self.states.insert(object, State::Ready);
        }
    }

    /// When the next object is due, if one waits for a time.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next object to reconcile, until [`Self::finish`].
    pub fn start(&mut self) -> Option<K> {
        let (lane, object) = self.ready.pop(self.began.elapsed())?;
        self.states.insert(object.clone(), State::Running { lane, again: false });
        Some(object)
    }

    /// Ends the reconcile of an object, which is reconciled again at a time, or when it is enqueued.
    pub fn finish(&mut self, object: K, next: Option<Instant>, lane: impl FnOnce(&K) -> Lane) {
        let Some(State::Running { lane: old, again }) = self.states.remove(&object) else { return };
        self.ready.release(&old);
        if again {
            self.enqueue(object, lane);
        } else if let Some(at) = next {
            self.delays = self.delays.wrapping_add(1);
            let due = (at, self.delays);
            self.delayed.insert(due, object.clone());
            self.states.insert(object, State::Delayed(due));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lane(object: &&str) -> Lane {
        Lane { namespace: object.split('/').next().unwrap_or_default().to_owned(), server: None }
    }

    fn work(objects: &[&'static str]) -> WorkQueue<&'static str> {
        let mut work = WorkQueue::new(Slots::few(12));
        for object in objects {
            work.enqueue(*object, lane);
        }
        work
    }

    #[test]
    fn object_waits_once() {
        let mut work = work(&["a/1", "a/1"]);
        assert_eq!(work.start(), Some("a/1"));
        assert_eq!(work.start(), None);
        work.finish("a/1", None, lane);
        assert_eq!((work.start(), work.next_due()), (None, None));
    }

    #[test]
    fn object_enqueued_meanwhile_is_reconciled_again() {
        let mut work = work(&["a/1"]);
        assert_eq!(work.start(), Some("a/1"));
        work.enqueue("a/1", lane);
        assert_eq!(work.start(), None, "never twice at a time");
        work.finish("a/1", Some(Instant::now()), lane);
        assert_eq!(work.next_due(), None, "not later, but next");
        assert_eq!(work.start(), Some("a/1"));
    }

    #[test]
    fn object_is_reconciled_when_due_or_enqueued() {
        let now = Instant::now();
        let mut work = work(&["a/1", "b/1"]);
        for wait in [1, 2] {
            let object = work.start().expect("an object");
            work.finish(object, Some(now + Duration::from_secs(wait)), lane);
        }
        work.wake(now, lane);
        assert_eq!(work.start(), None);
        work.enqueue("b/1", lane);
        assert_eq!(work.start(), Some("b/1"));
        assert_eq!(work.next_due(), Some(now + Duration::from_secs(1)));
        work.wake(now + Duration::from_secs(1), lane);
        assert_eq!(work.start(), Some("a/1"));
        assert_eq!(work.next_due(), None, "the later time of b/1 is void");
    }

    #[test]
    fn waiting_objects_of_one_tenant_delay_no_other() {
        let mut work = WorkQueue::new(Slots::few(12));
        (0..3000).for_each(|number| work.enqueue(number, |_| lane(&"a/x")));
        assert_eq!(std::iter::from_fn(|| work.start()).count(), 4);
        work.enqueue(3000, |_| lane(&"b/x"));
        assert_eq!(work.start(), Some(3000));
    }
}
