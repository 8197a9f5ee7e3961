//! A model of what surrounds one object of a controller: the API server, the watch, and the runner of `controllers/mod.rs`, with a
//! process that can end between any two effects. Shared by the model worlds of challenges and issuers.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    Requeue,
    retry::{self, Failure},
};

/// As in the runner: what a watch has missed is found after this time.
const RESYNC: Duration = Duration::from_hours(1);

/// Why a reconcile ended with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The process ended.
    Crash,
    /// The object was changed after it was read.
    Conflict,
    /// A request failed, and no decision says when to retry.
    Error,
    /// A request failed, and a decision says when to retry.
    Retry(Duration),
}

/// What becomes of a write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Done,
    /// Rejected, because something else has just changed the object.
    Conflict,
    /// Rejected for another reason.
    Rejected,
    /// Done, but the client does not learn it.
    ResponseLost,
}

/// Draws what becomes of a write: most are done.
pub(crate) fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        5 => Just(Write::Done),
        1 => Just(Write::Conflict),
        1 => Just(Write::Rejected),
        1 => Just(Write::ResponseLost),
    ]
}

/// An object at the API server, and what the watch shows of it.
#[derive(Debug)]
pub(crate) struct Stored<K> {
    current: (u64, K),
    shown: (u64, K),
    /// Watch events that are on their way, and when they arrive.
    events: VecDeque<(Timestamp, u64, K)>,
    /// How long a watch event takes.
    lag: Duration,
    /// What becomes of the next writes; after these, all are done.
    writes: VecDeque<Write>,
    /// The newest version that the process knows to have written.
    written: u64,
}

impl<K: Clone> Stored<K> {
    pub(crate) fn new(object: K, lag: Duration, writes: &[Write]) -> Self {
        Self {
            current: (0, object.clone()),
            shown: (0, object),
            events: VecDeque::new(),
            lag,
            writes: writes.iter().copied().collect(),
            written: 0,
        }
    }

    /// What the watch shows.
    pub(crate) const fn shown(&self) -> &K {
        &self.shown.1
    }

    /// What the API server has.
    pub(crate) const fn current(&self) -> &K {
        &self.current.1
    }

    /// Whether the watch is behind what the process has written.
    const fn is_stale(&self) -> bool {
        self.shown.0 < self.written
    }

    /// Changes the object as something other than the process does.
    pub(crate) fn change(&mut self, now: Timestamp, change: impl FnOnce(&mut K)) {
        change(&mut self.current.1);
        self.current.0 += 1;
        self.events.push_back((now + self.lag, self.current.0, self.current.1.clone()));
    }

    /// Changes the object as the process does, which read it from the watch.
    pub(crate) fn write(&mut self, now: Timestamp, change: impl FnOnce(&mut K)) -> Result<(), Stop> {
        let write = self.writes.pop_front().unwrap_or(Write::Done);
        if write == Write::Conflict {
            self.change(now, |_| {});
        }
        if self.current.0 != self.shown.0 {
            return Err(Stop::Conflict);
        }
        if write == Write::Rejected {
            return Err(Stop::Error);
        }
        self.change(now, change);
        if write == Write::ResponseLost {
            return Err(Stop::Error);
        }
        self.written = self.current.0;
        Ok(())
    }

    /// A new process lists the object.
    pub(crate) fn restart(&mut self) {
        self.shown = self.current.clone();
        self.events.clear();
        self.written = 0;
    }

    /// Lets the watch show what has arrived. Returns whether it shows something new.
    pub(crate) fn deliver(&mut self, now: Timestamp) -> bool {
        let before = self.shown.0;
        while self.events.front().is_some_and(|(arrives, ..)| *arrives <= now) {
            let (_, version, object) = self.events.pop_front().expect("an event");
            self.shown = (version, object);
        }
        self.shown.0 != before
    }

    /// When the next watch event arrives.
    pub(crate) fn next_event(&self) -> Option<Timestamp> {
        self.events.front().map(|(arrives, ..)| *arrives)
    }
}

/// The runner of one object.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) now: Timestamp,
    /// When the object is reconciled next, if something has enqueued it.
    due: Option<Timestamp>,
    /// Failures in a row.
    attempts: u32,
    /// After how many more effects the process ends, and the same for the processes after it. The last one goes on.
    fuses: VecDeque<usize>,
}

impl Runner {
    pub(crate) fn new(now: Timestamp, fuses: &[usize]) -> Self {
        Self { now, due: Some(now), attempts: 0, fuses: fuses.iter().copied().collect() }
    }

    /// When the object is reconciled next.
    pub(crate) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Enqueues the object, as a watch event does.
    pub(crate) fn enqueue(&mut self) {
        self.due = Some(self.now);
    }

    /// Takes the object from the queue, unless what is known of it is older than what was written.
    pub(crate) fn begin<K: Clone>(&mut self, object: &Stored<K>) -> bool {
        self.due = None;
        if object.is_stale() {
            self.due = Some(self.now + wait_after(Failure::StaleRead, 0));
        }
        self.due.is_none()
    }

    /// An effect has happened. The process may end here, before anything is remembered of it.
    pub(crate) fn passed(&mut self) -> Result<(), Stop> {
        match self.fuses.front_mut() {
            Some(0) => {
                self.fuses.pop_front();
                Err(Stop::Crash)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Ends a reconcile. A watch event may have enqueued the object already.
    pub(crate) fn end(&mut self, outcome: Result<Requeue, Stop>) {
        let wait = match outcome {
            Ok(requeue) => {
                self.attempts = 0;
                match requeue {
                    Requeue::After(wait) => Some(wait.min(RESYNC)),
                    Requeue::OnChange => None,
                    Requeue::Resync => Some(RESYNC),
                }
            }
            Err(Stop::Conflict) => Some(wait_after(Failure::Conflict, 0)),
            Err(Stop::Error) => Some(self.failed(None)),
            Err(Stop::Retry(after)) => Some(self.failed(Some(after))),
            Err(Stop::Crash) => {
                self.attempts = 0;
                // Everything that a new process lists is enqueued.
                Some(Duration::ZERO)
            }
        };
        self.due = wait.map(|wait| self.now + wait);
    }

    fn failed(&mut self, after: Option<Duration>) -> Duration {
        let wait = wait_after(after.map_or(Failure::Other, Failure::Wait), self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        wait
    }
}

/// How often something happens.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    times: VecDeque<Timestamp>,
    /// The highest number in any hour.
    pub(crate) most_in_an_hour: usize,
}

impl Meter {
    /// Fails a model test if there were more than `most` in any hour.
    pub(crate) fn assert_moderate(&self, what: &str, most: usize) -> Result<(), TestCaseError> {
        prop_assert!(self.most_in_an_hour <= most, "{} {what} in an hour", self.most_in_an_hour);
        Ok(())
    }

    pub(crate) fn count(&mut self, now: Timestamp) {
        self.times.push_back(now);
        while self.times.front().is_some_and(|time| *time + Duration::from_hours(1) <= now) {
            self.times.pop_front();
        }
        self.most_in_an_hour = self.most_in_an_hour.max(self.times.len());
    }
}

/// How long the runner waits after a failure.
fn wait_after(failure: Failure, attempt: u32) -> Duration {
    match retry::after(failure, attempt, "seed") {
        Requeue::After(wait) => wait,
        Requeue::OnChange | Requeue::Resync => RESYNC,
    }
}
