//! What is counted and measured on the way.

use std::time::Duration;

use crate::simulation::{authority::Request, fleet::Profile};

/// The longest wait that is told from longer ones.
const LONGEST: u64 = 10 * 24 * 3600;

/// How often requests of a kind are made.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    total: u64,
    /// Minutes since 1970, how many there were in the last one, and at most in any.
    minute: u64,
    in_minute: u64,
    most: u64,
}

impl Meter {
    fn count(&mut self, time: Duration, times: u32) {
        let minute = time.as_secs() / 60;
        if minute != self.minute {
            self.minute = minute;
            self.in_minute = 0;
        }
        self.in_minute += u64::from(times);
        self.most = self.most.max(self.in_minute);
        self.total += u64::from(times);
    }
}

/// Requests by kind, and all of them.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    by_kind: [Meter; Request::ALL.len()],
    all: Meter,
}

impl Requests {
    pub(crate) fn count(&mut self, request: Request, time: Duration, times: u32) {
        self.by_kind[request as usize].count(time, times);
        self.all.count(time, times);
    }

    /// By name: how many there were, and how many at most in a minute.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let kinds = Request::ALL.iter().map(|(_, name)| *name).zip(&self.by_kind);
        kinds.chain([("all", &self.all)]).map(|(name, meter)| (name, meter.total, meter.most))
    }
}

/// A queue: how long it is, and how long who left it had waited.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) length: u32,
    pub(crate) longest: u32,
    /// When it was longest, since 1970.
    pub(crate) longest_at: Duration,
    /// How many waited so many seconds.
    waits: Vec<u32>,
}

impl Default for Queue {
    fn default() -> Self {
        let waits = vec![0; usize::try_from(LONGEST).unwrap_or_default() + 1];
        Self { length: 0, longest: 0, longest_at: Duration::ZERO, waits }
    }
}

impl Queue {
    pub(crate) fn enter(&mut self, now: Duration) {
        self.length += 1;
        if self.length > self.longest {
            self.longest = self.length;
            self.longest_at = now;
        }
    }

    pub(crate) fn leave(&mut self) {
        self.length -= 1;
    }

    /// One left that got what it waited for.
    pub(crate) fn waited(&mut self, wait: Duration) {
        let second = usize::try_from(wait.as_secs().min(LONGEST)).unwrap_or_default();
        self.waits[second] += 1;
    }

    /// What a share of those who left had waited at most.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let all: u64 = self.waits.iter().copied().map(u64::from).sum();
        let mut left = (all * percent).div_ceil(100);
        let second = self.waits.iter().position(|count| {
            left = left.saturating_sub(u64::from(*count));
            left == 0
        });
        Duration::from_secs(second.and_then(|second| u64::try_from(second).ok()).unwrap_or(LONGEST))
    }
}

/// What became of the certificates of a lifetime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcomes {
    pub(crate) issued: u64,
    /// Names that did not validate.
    pub(crate) failed: u64,
    /// Orders and authorizations that waited too long to be used.
    pub(crate) lapsed: u64,
    /// From newOrder to the certificate.
    pub(crate) longest_order: Duration,
    pub(crate) expired: u64,
    /// Which share of the lifetime was left at the latest renewal.
    pub(crate) least_left: f64,
}

/// How an outage went by.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    pub(crate) name: &'static str,
    /// Since 1970.
    pub(crate) end: Duration,
    pub(crate) length: Duration,
    /// The most renewals that waited after it.
    pub(crate) longest: u32,
    /// How long it took until no more waited than come due in a minute.
    pub(crate) drained: Option<Duration>,
}

impl Outage {
    /// Looks at the renewals that wait. `usual` is how many come due in a minute.
    pub(crate) fn watch(&mut self, now: Duration, waiting: u32, usual: u32) {
        if now < self.end || self.drained.is_some() {
            return;
        }
        self.longest = self.longest.max(waiting);
        if waiting <= usual {
            self.drained = Some(now.saturating_sub(self.end));
        }
    }
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) requests: Requests,
    pub(crate) renewals: Queue,
    pub(crate) new: Queue,
    by_profile: [Outcomes; Profile::ALL.len()],
    /// Attempts that found the CA out.
    pub(crate) unanswered: u64,
    /// The CA's, and the operator's.
    pub(crate) outages: [Outage; 2],
}

impl Figures {
    pub(crate) fn new(outages: [Outage; 2]) -> Self {
        let none = Outcomes {
            issued: 0,
            failed: 0,
            lapsed: 0,
            longest_order: Duration::ZERO,
            expired: 0,
            least_left: 1.0,
        };
        Self {
            requests: Requests::default(),
            renewals: Queue::default(),
            new: Queue::default(),
            by_profile: [none; Profile::ALL.len()],
            unanswered: 0,
            outages,
        }
    }

    pub(crate) fn outcomes(&self, profile: Profile) -> &Outcomes {
        &self.by_profile[profile as usize]
    }

    pub(crate) fn outcomes_mut(&mut self, profile: Profile) -> &mut Outcomes {
        &mut self.by_profile[profile as usize]
    }

    /// The queue of renewals, or of what is new.
    pub(crate) fn queue(&mut self, renews: bool) -> &mut Queue {
        if renews { &mut self.renewals } else { &mut self.new }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_knows_its_longest_and_its_waits() {
        let mut queue = Queue::default();
        for second in 1..=100 {
            queue.enter(Duration::from_secs(second));
            queue.waited(Duration::from_secs(second));
        }
        queue.leave();
        assert_eq!((queue.length, queue.longest, queue.longest_at.as_secs()), (99, 100, 100));
        assert_eq!(queue.percentile(50).as_secs(), 50);
        assert_eq!(queue.percentile(100).as_secs(), 100);
    }

    #[test]
    fn requests_are_counted_by_minute() {
        let mut requests = Requests::default();
        for second in [0, 59, 60] {
            requests.count(Request::NewOrder, Duration::from_secs(second), 1);
        }
        assert!(requests.totals().any(|totals| totals == ("newOrder", 3, 2)));
        assert!(requests.totals().any(|totals| totals == ("all", 3, 2)));
    }
}
