//! How long to wait before a retry or a poll.
//!
//! Knows attempts and seeds; must not know what is retried. Jitter is computed from a seed, so that a test can repeat it. Next:
//! `renewal.rs`, which spreads renewals by the same [`fraction`].

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The wait after a failed issuance. The defaults are cert-manager's: 1 hour, doubled after each failure up to 32 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuanceBackoff {
    /// The wait after the first failure.
    pub minimum: Duration,
    /// The longest wait, after any number of failures.
    pub maximum: Duration,
}

impl Default for IssuanceBackoff {
    fn default() -> Self {
        Self { minimum: Duration::from_hours(1), maximum: Duration::from_hours(32) }
    }
}

impl IssuanceBackoff {
    /// The time of the next attempt, if the last one failed at `failed` and `attempts` have failed in a row.
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

/// The wait before a failed reconcile is retried: 1 second, doubled up to 5 minutes, less up to a quarter of jitter.
pub fn after_error(attempt: u32, seed: &str) -> Duration {
    jittered(doubled(Duration::from_secs(1), attempt, Duration::from_mins(5)), seed, attempt)
}

/// The wait before an ACME resource is polled again: the server's `Retry-After`, up to an hour. Without one, 100 ms at first,
/// then from 250 ms up to 10 seconds.
pub fn poll(attempt: u32, retry_after: Option<Duration>) -> Duration {
    const LONGEST: Duration = Duration::from_hours(1);
    match retry_after {
        Some(wait) if !wait.is_zero() => wait.min(LONGEST),
        _ if attempt == 0 => Duration::from_millis(100),
        _ => doubled(Duration::from_millis(250), attempt / 2, Duration::from_secs(10)),
    }
}

/// The wait before the next self-check: from 50 ms up to 10 seconds, because a route takes effect either within tenths of a second
/// or after a long time.
pub fn self_check(attempt: u32, seed: &str) -> Duration {
    let wait = doubled(Duration::from_millis(50), attempt / 4, Duration::from_secs(10));
    jittered(wait, seed, attempt)
}

/// `first`, doubled so many `times`, but at most `longest`.
fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.checked_mul(1_u32.checked_shl(times.min(31)).unwrap_or(u32::MAX)).unwrap_or(longest).min(longest)
}

/// `whole` less up to a quarter; the same for the same seed and attempt.
fn jittered(whole: Duration, seed: &str, attempt: u32) -> Duration {
    whole.mul_f64(1.0 - fraction(seed, &[i64::from(attempt)]) / 4.0)
}

/// A number from 0 (inclusive) to 1 (exclusive) computed from a seed and numbers: evenly distributed, and the same for the same
/// input. The hash is not cryptographic: collisions are easy to find.
///
/// It is FNV-1a with the finalizer of SplitMix64. Unlike the standard library's `DefaultHasher`, it is the same in every release, so
/// an upgrade moves no renewal. It has to be fast: a large cluster computes millions in an hour.
pub fn fraction(seed: &str, numbers: &[i64]) -> f64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, part: u64| (hash ^ part).wrapping_mul(PRIME);
    let hash = seed.bytes().map(u64::from).fold(OFFSET, step);
    let hash = numbers.iter().map(|number| finalized(number.cast_unsigned())).fold(hash, step);
    // The upper bits are the better ones. A float holds 53, and 32 are enough.
    let bits = u32::try_from(finalized(hash) >> 32).unwrap_or_default();
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

/// The finalizer of SplitMix64: each bit of the result depends on every bit of the input.
fn finalized(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_backoff_grows_up_to_five_minutes() {
        let waits: Vec<_> = (0..40).map(|attempt| after_error(attempt, "a")).collect();
        assert!(waits[0] >= Duration::from_millis(750) && waits[0] <= Duration::from_secs(1));
        assert!(waits.iter().all(|wait| *wait <= Duration::from_mins(5)));
        assert!(waits[39] >= Duration::from_secs(225));
        assert_eq!(after_error(3, "a"), after_error(3, "a"));
        assert_ne!(after_error(3, "a"), after_error(3, "b"));
    }

    #[test]
    fn fractions_of_similar_seeds_are_evenly_distributed() {
        let mut histogram = [0; 20];
        for seed in 0..2000 {
            for number in 0..10 {
                let fraction = fraction(&seed.to_string(), &[1_800_000_000 + number * 3600]);
                assert!((0.0..1.0).contains(&fraction));
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 19")]
                let bin = (fraction * 20.0) as usize;
                histogram[bin] += 1;
            }
        }
        assert!(histogram.iter().all(|count| (900..1100).contains(count)), "{histogram:?}");
    }

    #[test]
    fn poll_honors_retry_after_up_to_an_hour() {
        assert_eq!(poll(0, None), Duration::from_millis(100));
        assert_eq!(poll(1, None), Duration::from_millis(250));
        assert_eq!(poll(1, Some(Duration::ZERO)), Duration::from_millis(250));
        assert_eq!(poll(0, Some(Duration::from_secs(3))), Duration::from_secs(3));
        assert_eq!(poll(0, Some(Duration::from_secs(400_000_000))), Duration::from_hours(1));
        assert_eq!(poll(200, None), Duration::from_secs(10));
    }

    #[test]
    fn self_check_is_frequent_in_the_first_second() {
        let in_the_first_second = (0..).scan(Duration::ZERO, |sum, attempt| {
            *sum += self_check(attempt, "a");
            Some(*sum)
        });
        assert!(in_the_first_second.take_while(|sum| *sum < Duration::from_secs(1)).count() >= 8);
        assert!(self_check(1000, "a") <= Duration::from_secs(10));
    }
}
