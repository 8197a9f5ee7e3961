//! How long to wait before something is tried or looked at again. Jitter comes from a seed, so that a wait can be repeated.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How long an issuance that failed waits, the first and the longest time. cert-manager's are an hour and 32 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuanceBackoff {
    /// After the first failure.
    pub minimum: Duration,
    /// However often it failed.
    pub maximum: Duration,
}

impl Default for IssuanceBackoff {
    fn default() -> Self {
        Self { minimum: Duration::from_hours(1), maximum: Duration::from_hours(32) }
    }
}

impl IssuanceBackoff {
    /// When an issuance may be tried again that failed at a time, and so many times in a row: twice as long each time.
    ///
    /// ```
    /// use operator::decision::backoff::IssuanceBackoff;
    ///
    /// let failed = "2026-01-01T00:00:00Z".parse()?;
    /// let next = |attempts| IssuanceBackoff::default().next_attempt(failed, attempts).to_string();
    /// assert_eq!(next(1), "2026-01-01T01:00:00Z");
    /// assert_eq!(next(3), "2026-01-01T04:00:00Z");
    /// assert_eq!(next(100), "2026-01-02T08:00:00Z");
    /// # Ok::<(), jiff::Error>(())
    /// ```
    pub fn next_attempt(self, failed: Timestamp, attempts: i64) -> Timestamp {
        let doublings = u32::try_from(attempts.clamp(1, 32) - 1).unwrap_or_default();
        let delay = doubled(self.minimum, doublings, self.maximum);
        failed
            .checked_add(SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX))
            .unwrap_or(Timestamp::MAX)
    }
}

/// Before what failed for a moment is tried again: from a second to five minutes, with a quarter of jitter.
pub fn after_error(attempt: u32, seed: &str) -> Duration {
    jittered(doubled(Duration::from_secs(1), attempt, Duration::from_mins(5)), seed, attempt)
}

/// Before something at an ACME server is looked at again: as long as it said, within bounds, else after 100 ms once, and then
/// from 250 ms upwards.
pub fn poll(attempt: u32, retry_after: Option<Duration>) -> Duration {
    const LONGEST: Duration = Duration::from_hours(1);
    match retry_after {
        Some(wait) if !wait.is_zero() => wait.min(LONGEST),
        _ if attempt == 0 => Duration::from_millis(100),
        _ => doubled(Duration::from_millis(250), attempt / 2, Duration::from_secs(10)),
    }
}

/// Before the way to the solver is looked at again: from 50 ms upwards, as routes take effect in tenths of a second or not
/// for long.
pub fn self_check(attempt: u32, seed: &str) -> Duration {
    let wait = doubled(Duration::from_millis(50), attempt / 4, Duration::from_secs(10));
    jittered(wait, seed, attempt)
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.checked_mul(1_u32.checked_shl(times.min(31)).unwrap_or(u32::MAX)).unwrap_or(longest).min(longest)
}

/// A duration less up to a quarter, the same for the same seed and attempt.
fn jittered(whole: Duration, seed: &str, attempt: u32) -> Duration {
    whole.mul_f64(1.0 - fraction(seed, &[i64::from(attempt)]) / 4.0)
}

/// A number from 0 to below 1 that stands for a text and numbers: evenly spread, the same each time. Nobody is kept from
/// finding two that share it.
///
/// It is FNV-1a, whose bits are mixed at the end as in SplitMix64: a fleet draws millions in an hour.
pub fn fraction(seed: &str, numbers: &[i64]) -> f64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, part: u64| (hash ^ part).wrapping_mul(PRIME);
    let hash = seed.bytes().map(u64::from).fold(OFFSET, step);
    let hash = numbers.iter().map(|number| mixed(number.cast_unsigned())).fold(hash, step);
    // Above are the better bits; a float holds 53, and 32 are enough.
    let bits = u32::try_from(mixed(hash) >> 32).unwrap_or_default();
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// The end of SplitMix64: each bit depends on all.
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_waits_longer_each_time_and_never_longer_than_five_minutes() {
        let waits: Vec<_> = (0..40).map(|attempt| after_error(attempt, "a")).collect();
        assert!(waits[0] >= Duration::from_millis(750) && waits[0] <= Duration::from_secs(1));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_mins(5)));
        assert!(waits[39] >= Duration::from_secs(225));
        assert_eq!(after_error(3, "a"), after_error(3, "a"));
        assert_ne!(after_error(3, "a"), after_error(3, "b"));
    }

    #[test]
    fn what_is_drawn_is_spread_evenly_also_for_seeds_that_are_alike() {
        let mut drawn = [0; 20];
        for seed in 0..2000 {
            for number in 0..10 {
                let fraction = fraction(&seed.to_string(), &[1_800_000_000 + number * 3600]);
                assert!((0.0..1.0).contains(&fraction));
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 19")]
                let bin = (fraction * 20.0) as usize;
                drawn[bin] += 1;
            }
        }
        assert!(drawn.iter().all(|count| (900..1100).contains(count)), "{drawn:?}");
    }

    #[test]
    fn a_server_is_asked_again_when_it_says_so_but_not_in_ten_years() {
        assert_eq!(poll(0, None), Duration::from_millis(100));
        assert_eq!(poll(1, None), Duration::from_millis(250));
        assert_eq!(poll(1, Some(Duration::ZERO)), Duration::from_millis(250));
        assert_eq!(poll(0, Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(poll(0, Some(Duration::from_secs(400_000_000))), Duration::from_hours(1));
        assert_eq!(poll(200, None), Duration::from_secs(10));
    }

    #[test]
    fn the_self_check_is_quick_at_first() {
        let in_the_first_second = (0..).scan(Duration::ZERO, |sum, attempt| {
            *sum += self_check(attempt, "a");
            Some(*sum)
        });
        assert!(in_the_first_second.take_while(|sum| *sum < Duration::from_secs(1)).count() >= 8);
        assert!(self_check(1000, "a") <= Duration::from_secs(10));
    }
}
