//! Rate limits of a CA: what it publishes about new orders, and a token bucket.
//!
//! Knows rates and times; must not read a clock, so callers pass the time in. Next: `new_orders.rs` for the slots of an account, and
//! `acme/server/rate_limiter.rs` for requests.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The period in which Let's Encrypt counts an account's new orders.
pub(super) const PERIOD: Duration = Duration::from_hours(3);

/// Let's Encrypt's words for the limit on an account's new orders, which no other limit's message contains.
const TOO_MANY: &str = "too many new orders";

/// A limit on how often something happens: at a steady rate, with a burst after an idle period.
///
/// Time is the duration since a moment that the caller chooses, and never runs backward.
///
/// ```
/// use std::time::Duration;
///
/// use operator::decision::limits::TokenBucket;
///
/// let mut bucket = TokenBucket::new(10.0, 2.0);
/// let waits: Vec<_> = (0..4).map(|_| bucket.take(Duration::ZERO).as_millis()).collect();
/// assert_eq!(waits, [0, 0, 100, 200]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Tokens per second.
    pub(super) rate: f64,
    pub(super) burst: f64,
    /// The number of tokens at the time `at`. Negative if callers are waiting for tokens that they have taken.
    pub(super) level: f64,
    pub(super) at: Duration,
}

impl TokenBucket {
    /// A full bucket that gains `rate` tokens per second and holds at most `burst`.
    pub fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, level: burst, at: Duration::ZERO }
    }

    /// Takes a token. Returns how long the caller must wait before using it.
    pub fn take(&mut self, now: Duration) -> Duration {
        self.level = self.level(now) - 1.0;
        self.at = self.at.max(now);
        self.until(0.0 - self.level)
    }

    /// How long until a token can be taken without a wait.
    pub fn wait(&self, now: Duration) -> Duration {
        self.until(1.0 - self.level(now))
    }

    /// The number of tokens now. Negative if callers are waiting for tokens that they have taken.
    pub fn level(&self, now: Duration) -> f64 {
        (self.level + now.saturating_sub(self.at).as_secs_f64() * self.rate).min(self.burst)
    }

    /// How long until so many tokens have come in.
    pub(super) fn until(&self, missing: f64) -> Duration {
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(missing / self.rate).unwrap_or(Duration::MAX)
    }
}

/// How many new orders an account may place within 3 hours at the CA with this directory, not counting renewals: the number in the
/// issuer's annotation, otherwise the limit that the CA publishes. `None` if there is neither.
///
/// ```
/// use operator::decision::limits::new_orders_in_3_hours;
///
/// let production = "https://acme-v02.api.letsencrypt.org/directory";
/// assert_eq!(new_orders_in_3_hours(production, None), Some(300));
/// assert_eq!(new_orders_in_3_hours(production, Some("5000")), Some(5000));
/// assert_eq!(new_orders_in_3_hours(production, Some("many")), Some(300));
/// assert_eq!(new_orders_in_3_hours("https://ca.example.com/directory", None), None);
/// ```
pub fn new_orders_in_3_hours(directory_url: &str, annotation: Option<&str>) -> Option<u32> {
    annotation.and_then(number_of_orders).or_else(|| {
        match directory_url.strip_prefix("https://")?.split(['/', ':']).next()? {
            "acme-v02.api.letsencrypt.org" => Some(300),
            "acme-staging-v02.api.letsencrypt.org" => Some(1500),
            _ => None,
        }
    })
}

/// The value of the annotation, if it is a number greater than zero.
pub fn number_of_orders(annotation: &str) -> Option<u32> {
    annotation.trim().parse().ok().filter(|number| *number > 0)
}

/// Whether the problem detail of a rejected order is about the account's number of new orders, not about the order's names.
pub fn is_about_new_orders(detail: &str) -> bool {
    detail.contains(TOO_MANY)
}

/// A time `by` later; the end of time if it does not exist.
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_fills_up_to_its_burst() {
        let mut bucket = TokenBucket::new(1.0, 3.0);
        let hour = Duration::from_hours(1);
        let waits: Vec<_> = (0..5).map(|_| bucket.take(hour).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2]);
        assert_eq!(bucket.wait(hour), Duration::from_secs(3));
        assert_eq!(bucket.wait(hour + Duration::from_secs(3)), Duration::ZERO);
    }

    #[test]
    fn only_the_account_limit_is_about_new_orders() {
        assert!(is_about_new_orders(
            "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-01-01 00:00:00 UTC"
        ));
        assert!(!is_about_new_orders(
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s"
        ));
    }
}
