//! How fast certificates are requested for one Certificate, whatever asks for them.
//!
//! Something that always finds a reason, such as another program that writes the Secret, two tools that disagree about the spec, or
//! a renewBefore beyond the lifetime, must not exhaust the CA's rate limits. Knows times; must not know reasons.

use std::time::Duration;

use jiff::Timestamp;

use crate::decision::limits::later;

/// The points of a request for a new revision.
const NEW_REVISION: u32 = 2;

/// The points of another request for the same revision: the spec was changed before the certificate was issued.
const SAME_REVISION: u32 = 1;

/// From how many points on the next request is delayed: after two issuances in a row.
const DELAYED_FROM: u32 = 2 * NEW_REVISION;

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

impl Pace {
    /// The pace after a request for a revision. `before` is the pace until then. `failed` is whether the last request for this
    /// revision failed: then it has waited already, or the user has corrected something.
    pub fn after(before: Option<Self>, revision: i64, failed: bool, now: Timestamp) -> Self {
        let before = before.filter(|before| now < later(before.next(), FIRST_WAIT));
        let is_same = before.is_some_and(|before| before.revision == revision);
        let points = match is_same {
            true if failed => 0,
            true => SAME_REVISION,
            false => NEW_REVISION,
        };
        Self {
            requests: before.map_or(0, |before| before.requests).saturating_add(u32::from(points > 0)),
            points: before.map_or(0, |before| before.points).saturating_add(points),
            revision,
            last: now,
        }
    }

    /// When the next request may come.
    pub fn next(self) -> Timestamp {
        let Some(above) = self.points.checked_sub(DELAYED_FROM) else { return self.last };
        let factor = 1 << (above / NEW_REVISION).min(16);
        later(self.last, FIRST_WAIT.checked_mul(factor).map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT)))
    }

    /// When the next request may come if a certificate with a lifetime should be renewed at `due`: not later than that, unless the
    /// last request was just before.
    pub fn next_renewal(self, due: Timestamp, lifetime: Duration) -> Timestamp {
        self.next().min(due.max(later(self.last, FIRST_WAIT.min(lifetime / 3))))
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
            let next = Pace::after(pace, revision, false, now);
            waits.push(next.next().duration_since(now).as_secs() / 60);
            (pace, now) = (Some(next), next.next());
        }
        assert_eq!(waits, [0, 5, 10, 20, 40, 80]);
    }

    #[test]
    fn quiet_time_ends_the_row() {
        let first = Pace::after(None, 1, false, Timestamp::UNIX_EPOCH);
        let second = Pace::after(Some(first), 2, false, later(Timestamp::UNIX_EPOCH, Duration::from_secs(1)));
        assert_eq!(second.requests(), 2);
        let quiet = later(second.next(), FIRST_WAIT);
        assert_eq!(Pace::after(Some(second), 3, false, quiet).requests(), 1);
    }

    /// A user may correct the spec as often as attempts fail; two tools that disagree about it are slowed down.
    #[test]
    fn changes_of_the_spec_count_unless_the_last_attempt_failed() {
        let now = Timestamp::UNIX_EPOCH;
        let waits = |failed| {
            let pace = (0..5).fold(None, |pace, _| Some(Pace::after(pace, 1, failed, now)));
            pace.is_some_and(|pace| pace.next() > now)
        };
        assert!(waits(false));
        assert!(!waits(true));
    }
}
