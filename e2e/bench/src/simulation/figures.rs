//! What the simulation counts and measures.
//!
//! Knows numbers and times; must not decide anything. Next: `report.rs` for how they are shown.

use std::time::Duration;

use crate::simulation::{authority::Request, fleet::Profile};

/// Waits longer than this are counted as this long, in seconds.
const LONGEST: u64 = 10 * 24 * 3600;

/// Counts requests of a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    total: u64,
    /// The last minute that had a request, in minutes since 1970.
    minute: u64,
    /// The number of requests in that minute.
    in_minute: u64,
    /// The number of requests in the busiest minute.
    busiest: u64,
}

impl Meter {
    fn count(&mut self, time: Duration, times: u32) {
        let minute = time.as_secs() / 60;
        if minute != self.minute {
            self.minute = minute;
            self.in_minute = 0;
        }
        self.in_minute += u64::from(times);
        self.busiest = self.busiest.max(self.in_minute);
        self.total += u64::from(times);
    }
}

/// Counts requests by kind, and in total.
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

    /// For each kind and for all requests: the name, the total, and the number in the busiest minute.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let kinds = Request::ALL.iter().map(|(_, name)| *name).zip(&self.by_kind);
        kinds.chain([("all", &self.all)]).map(|(name, meter)| (name, meter.total, meter.busiest))
    }
}

/// A queue: its length, and the waits of all that have left it.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) length: u32,
    pub(crate) longest: u32,
    /// When the queue was longest, since 1970.
    pub(crate) longest_at: Duration,
    /// The number of waits by their length in seconds.
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

    /// Counts the wait of one that got its certificate.
    pub(crate) fn waited(&mut self, wait: Duration) {
        let second = usize::try_from(wait.as_secs().min(LONGEST)).unwrap_or_default();
        self.waits[second] += 1;
    }

    /// The wait that `percent` of all waits did not exceed.
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

/// The outcomes of issuances with one lifetime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcomes {
    pub(crate) issued: u64,
    /// Issuances that failed because the name did not validate.
    pub(crate) failed: u64,
    /// Issuances that failed because the order or authorization expired first.
    pub(crate) expired_orders: u64,
    /// The longest time from newOrder to the certificate.
    pub(crate) longest_order: Duration,
    /// Certificates that expired before they were renewed.
    pub(crate) expired: u64,
    /// The smallest share of the lifetime that was left at a renewal.
    pub(crate) least_left: f64,
}

/// An outage and its backlog.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    pub(crate) name: &'static str,
    /// Since 1970.
    pub(crate) end: Duration,
    pub(crate) length: Duration,
    /// The most renewals that waited after the outage.
    pub(crate) longest_backlog: u32,
    /// How long it took until no more renewals waited than become due in a minute.
    pub(crate) cleared: Option<Duration>,
}

impl Outage {
    /// Records how many renewals are waiting. `usual` is how many become due in a minute.
    pub(crate) fn observe(&mut self, now: Duration, waiting: u32, usual: u32) {
        if now < self.end || self.cleared.is_some() {
            return;
        }
        self.longest_backlog = self.longest_backlog.max(waiting);
        if waiting <= usual {
            self.cleared = Some(now.saturating_sub(self.end));
        }
    }
}

/// Everything that a simulation counts and measures.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) requests: Requests,
    pub(crate) renewals: Queue,
    pub(crate) new: Queue,
    by_profile: [Outcomes; Profile::ALL.len()],
    /// Requests that failed because of the CA's outage.
    pub(crate) unanswered: u64,
    /// The outages of the CA and of the operator.
    pub(crate) outages: [Outage; 2],
}

impl Figures {
    pub(crate) fn new(outages: [Outage; 2]) -> Self {
        let none = Outcomes {
            issued: 0,
            failed: 0,
            expired_orders: 0,
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

    /// The queue of renewals or of new certificates.
    pub(crate) fn queue(&mut self, renews: bool) -> &mut Queue {
        if renews { &mut self.renewals } else { &mut self.new }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_records_longest_length_and_waits() {
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
    fn requests_are_counted_per_minute() {
        let mut requests = Requests::default();
        for second in [0, 59, 60] {
            requests.count(Request::NewOrder, Duration::from_secs(second), 1);
        }
        assert!(requests.totals().any(|totals| totals == ("newOrder", 3, 2)));
        assert!(requests.totals().any(|totals| totals == ("all", 3, 2)));
    }
}
