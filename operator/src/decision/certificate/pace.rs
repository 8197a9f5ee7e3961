//! How fast certificates are requested for one Certificate, whatever asks for them.
//!
//! Something that always finds a reason, such as another program that writes the Secret, two tools that disagree about the spec, or
//! a renewBefore beyond the lifetime, must not exhaust the CA's rate limits. Knows times; must not know reasons.

use std::time::Duration;

use jiff::Timestamp;

use crate::decision::limits::later;

/// What a request counts.
const REQUEST: u32 = 2;

/// What a request counts that a change of the spec asks for: users change a spec several times in a row.
const CHANGE: u32 = 1;

/// From how much on the next request is delayed: after two that were not asked for by changes of the spec.
const DELAYED_FROM: u32 = 2 * REQUEST;

/// The same for a request that a change of the spec asks for.
const CHANGE_DELAYED_FROM: u32 = 3 * REQUEST;

/// The wait before the next one, doubled for each further one.
const FIRST_WAIT: Duration = Duration::from_mins(5);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_hours(8);

/// The requests of a Certificate in a row: each came soon after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many there were.
    requests: u32,
    points: u32,
    /// The revision that the last one was for.
    revision: i64,
    /// When the last one came, UTC.
    last: Timestamp,
}

/// Why a certificate is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The spec has changed.
    Change,
    /// The last attempt has failed: it has waited already, or the user has corrected something.
    Failure,
    /// Anything else, such as a renewal or a Secret without the certificate.
    Other,
}

impl Pace {
    /// The pace after a request for a revision. `before` is the pace until then.
    pub fn after(before: Option<Self>, revision: i64, cause: Cause, now: Timestamp) -> Self {
        let before = before.filter(|before| now < later(before.next(Cause::Other), FIRST_WAIT));
        let is_same = before.is_some_and(|before| before.revision == revision);
        let points = match cause {
            Cause::Failure if is_same => 0,
            Cause::Change => CHANGE,
            // The spec was changed before the certificate was issued.
            Cause::Failure | Cause::Other if is_same => CHANGE,
            Cause::Failure | Cause::Other => REQUEST,
        };
        Self {
            requests: before.map_or(0, |before| before.requests).saturating_add(u32::from(points > 0)),
            points: before.map_or(0, |before| before.points).saturating_add(points),
            revision,
            last: now,
        }
    }

    /// The pace that another process may have left, whose last request was for a revision. The first one is not worth a wait.
    pub fn of_another_process(revision: i64, requested: Timestamp, now: Timestamp) -> Option<Self> {
        let is_recent = now < later(requested, FIRST_WAIT);
        let requests = DELAYED_FROM / REQUEST;
        (is_recent && revision > 1).then_some(Self {
            requests,
            points: DELAYED_FROM,
            revision,
            last: requested,
        })
    }

    /// When the next request may come, by why it comes.
    pub fn next(self, cause: Cause) -> Timestamp {
        let from = if cause == Cause::Change { CHANGE_DELAYED_FROM } else { DELAYED_FROM };
        let Some(above) = self.points.checked_sub(from) else { return self.last };
        let factor = 1 << (above / REQUEST).min(16);
        later(self.last, FIRST_WAIT.checked_mul(factor).map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT)))
    }

    /// When the next request may come if a certificate with a lifetime should be renewed at `due`: not later than that, unless the
    /// last request was just before.
    pub fn next_renewal(self, due: Timestamp, lifetime: Duration) -> Timestamp {
        self.next(Cause::Other).min(due.max(later(self.last, FIRST_WAIT.min(lifetime / 3))))
    }

    /// How many requests there were in a row.
    pub const fn requests(self) -> u32 {
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn third_issuance_in_a_row_waits_and_each_one_longer() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut pace = None;
        let mut waits = Vec::new();
        for revision in 1..=6 {
            let next = Pace::after(pace, revision, Cause::Other, now);
            waits.push(next.next(Cause::Other).duration_since(now).as_secs() / 60);
            (pace, now) = (Some(next), next.next(Cause::Other));
        }
        assert_eq!(waits, [0, 5, 10, 20, 40, 80]);
    }

    #[test]
    fn quiet_time_ends_the_row() {
        let first = Pace::after(None, 1, Cause::Other, Timestamp::UNIX_EPOCH);
        let soon = later(Timestamp::UNIX_EPOCH, Duration::from_secs(1));
        let second = Pace::after(Some(first), 2, Cause::Other, soon);
        assert_eq!(second.requests(), 2);
        let quiet = later(second.next(Cause::Other), FIRST_WAIT);
        assert_eq!(Pace::after(Some(second), 3, Cause::Other, quiet).requests(), 1);
    }

    /// An operator that ends again and again must not order each time.
    #[test]
    fn restart_does_not_shorten_the_wait() {
        let requested = Timestamp::UNIX_EPOCH;
        let now = later(requested, Duration::from_mins(1));
        let left = |revision, now| Pace::of_another_process(revision, requested, now);
        let next = left(2, now).expect("a pace").next(Cause::Other);
        assert_eq!(next, later(requested, FIRST_WAIT));
        assert_eq!(left(1, now), None, "it may be the first issuance");
        assert_eq!(left(2, later(requested, FIRST_WAIT)), None);
    }

    /// A user may change the spec four times after the first certificate, and correct it as often as attempts fail. Two tools that
    /// disagree about it are slowed down.
    #[test]
    fn changes_of_the_spec_count_less() {
        let now = Timestamp::UNIX_EPOCH;
        let first = Pace::after(None, 1, Cause::Other, now);
        let changes = |count: i64| {
            (0..count).fold(first, |pace, change| Pace::after(Some(pace), 2 + change, Cause::Change, now))
        };
        assert_eq!(changes(3).next(Cause::Change), now);
        assert!(changes(4).next(Cause::Change) > now);
        let failures = (0..9).fold(first, |pace, _| Pace::after(Some(pace), 1, Cause::Failure, now));
        assert_eq!(failures.next(Cause::Other), now);
    }

    /// A clock that runs ahead makes each new certificate due immediately.
    #[test]
    fn due_renewal_waits_a_part_of_the_lifetime() {
        let now = Timestamp::UNIX_EPOCH;
        let pace = (1..=4).fold(None, |pace, revision| Some(Pace::after(pace, revision, Cause::Other, now)));
        let pace = pace.expect("four requests");
        let next = |lifetime| pace.next_renewal(now, lifetime).duration_since(now).as_secs();
        assert_eq!(next(Duration::from_hours(24)), 300);
        assert_eq!(next(Duration::from_mins(1)), 20);
    }
}
