//! When a certificate is renewed.
//!
//! Knows lifetimes and ACME renewal information (ARI, RFC 9773); must not know how a renewal is carried out. Next: `windows.rs`.

use std::time::Duration;

use crds::duration::GoDuration;
use jiff::{SignedDuration, Timestamp};

use super::backoff::fraction;

/// The time to renew a certificate, in whole seconds: `renew_before` before it expires, if that is shorter than its lifetime;
/// otherwise `renew_before_percentage` of its lifetime before it expires; otherwise a third of it. The formula is cert-manager's,
/// to the second, so that certificates issued by it keep their renewal time.
///
/// `None` if `not_after` is not later than `not_before`.
///
/// ```
/// use jiff::Timestamp;
/// use operator::decision::renewal::renewal_time;
///
/// let (begin, end): (Timestamp, Timestamp) = ("2026-01-01T00:00:00Z".parse()?, "2026-04-01T00:00:00Z".parse()?);
/// assert_eq!(renewal_time(begin, end, None, None), Some("2026-03-02T00:00:00Z".parse()?));
/// assert_eq!(renewal_time(begin, end, Some("360h".parse()?), None), Some("2026-03-17T00:00:00Z".parse()?));
/// assert_eq!(renewal_time(begin, end, None, Some(10)), Some("2026-03-23T00:00:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn renewal_time(
    not_before: Timestamp,
    not_after: Timestamp,
    renew_before: Option<GoDuration>,
    renew_before_percentage: Option<i32>,
) -> Option<Timestamp> {
    let lifetime = not_after.duration_since(not_before);
    if lifetime <= SignedDuration::ZERO {
        return None;
    }
    let by_duration = renew_before
        .map(|duration| SignedDuration::from_nanos(duration.as_nanos()))
        .filter(|before| *before > SignedDuration::ZERO && *before < lifetime);
    let by_percentage = renew_before_percentage
        .filter(|percentage| (1..100).contains(percentage))
        .map(|percentage| part(lifetime, i128::from(percentage), 100));
    let before = by_duration.or(by_percentage).unwrap_or_else(|| part(lifetime, 1, 3));
    let time = not_after.checked_sub(before).ok()?;
    // Rounded down to the second, as metav1.Time stores it: a fraction would be lost and written again with every reconcile.
    Some(crds::condition::whole_seconds(time).0)
}

/// How long after the issuance, or after the operator's start, renewal information is first fetched: 1 to 7 hours, so that the
/// requests are spread out. Proportionally less for lifetimes below 5 days; `None` below 1 hour, where it is of no use.
pub fn first_ari_check(not_before: Timestamp, not_after: Timestamp, seed: &str) -> Option<SignedDuration> {
    const LEAST_LIFETIME: SignedDuration = SignedDuration::from_hours(1);
    const USUAL_LIFETIME: SignedDuration = SignedDuration::from_hours(5 * 24);
    let lifetime = not_after.duration_since(not_before);
    if lifetime < LEAST_LIFETIME {
        return None;
    }
    let hours = 1.0 + 6.0 * fraction(seed, &[]);
    let share = (lifetime.as_secs_f64() / USUAL_LIFETIME.as_secs_f64()).min(1.0);
    SignedDuration::try_from_secs_f64(hours * share * 3600.0).ok()
}

/// The time of the next fetch of renewal information
/// ([RFC 9773 section 4.3.2](https://www.rfc-editor.org/rfc/rfc9773#section-4.3.2)): after the server's `Retry-After`, limited to
/// 1 hour to 7 days, or after 6 hours without one; less up to a tenth of jitter.
pub fn next_ari_check(now: Timestamp, retry_after: Option<Duration>, seed: &str) -> Timestamp {
    let wait = retry_after.unwrap_or(Duration::from_hours(6));
    let wait = wait.clamp(Duration::from_hours(1), Duration::from_hours(7 * 24));
    let wait = wait.mul_f64(1.0 - fraction(seed, &[now.as_second()]) / 10.0);
    now.checked_add(SignedDuration::try_from(wait).unwrap_or_default()).unwrap_or(now)
}

/// The time to renew within the window that a server suggests
/// ([RFC 9773 section 4.2](https://www.rfc-editor.org/rfc/rfc9773#section-4.2)): a pseudorandom time in the window, the same for the
/// same window and seed, but never in the last twentieth of the lifetime.
///
/// ```
/// use jiff::Timestamp;
/// use operator::decision::renewal::ari_renewal_time;
///
/// let at = |text: &str| text.parse::<Timestamp>();
/// let window = (at("2026-03-01T00:00:00Z")?, at("2026-03-03T00:00:00Z")?);
/// let life = (at("2026-01-01T00:00:00Z")?, at("2026-04-01T00:00:00Z")?);
/// let time = ari_renewal_time(window, life, "uid");
/// assert!(window.0 <= time && time < window.1);
/// assert_eq!(time, ari_renewal_time(window, life, "uid"));
/// # Ok::<(), jiff::Error>(())
/// ```
pub fn ari_renewal_time(
    (start, end): (Timestamp, Timestamp),
    (not_before, not_after): (Timestamp, Timestamp),
    seed: &str,
) -> Timestamp {
    let width = end.duration_since(start).max(SignedDuration::ZERO);
    let share = fraction(seed, &[start.as_second(), end.as_second()]);
    let offset = SignedDuration::try_from_secs_f64(width.as_secs_f64() * share);
    let time = start.checked_add(offset.unwrap_or_default()).unwrap_or(start);
    let last = part(not_after.duration_since(not_before).max(SignedDuration::ZERO), 1, 20);
    let latest = not_after.checked_sub(last).unwrap_or(not_after);
    crds::condition::whole_seconds(time.min(latest)).0
}

/// A fraction of a duration, rounded down to the nanosecond.
fn part(whole: SignedDuration, numerator: i128, denominator: i128) -> SignedDuration {
    SignedDuration::from_nanos_i128(whole.as_nanos() * numerator / denominator)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn renewal_time_equals_cert_managers() {
        let begin = "2026-01-01T00:00:00Z";
        for (end, renew_before, percentage, expected) in [
            // A third of 90 days, of 45 days, of 160 hours and of 100 seconds, which does not divide.
            ("2026-04-01T00:00:00Z", None, None, Some("2026-03-02T00:00:00Z")),
            ("2026-02-15T00:00:00Z", None, None, Some("2026-01-31T00:00:00Z")),
            ("2026-01-07T16:00:00Z", None, None, Some("2026-01-05T10:40:00Z")),
            ("2026-01-01T00:01:40Z", None, None, Some("2026-01-01T00:01:06Z")),
            ("2026-01-01T00:01:00Z", None, None, Some("2026-01-01T00:00:40Z")),
            // renewBefore, if it fits into the lifetime.
            ("2026-01-02T00:00:00Z", Some("1h"), None, Some("2026-01-01T23:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("24h"), None, Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("2160h"), None, Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("0s"), None, Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("-1h"), None, Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("1.5s"), None, Some("2026-01-01T23:59:58Z")),
            // The percentage of the lifetime that is left.
            ("2026-01-02T00:00:00Z", None, Some(25), Some("2026-01-01T18:00:00Z")),
            ("2026-01-02T00:00:00Z", None, Some(99), Some("2026-01-01T00:14:24Z")),
            ("2026-01-02T00:00:00Z", None, Some(0), Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", None, Some(100), Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("48h"), Some(25), Some("2026-01-01T18:00:00Z")),
            // No lifetime.
            (begin, None, None, None),
            ("2025-12-31T00:00:00Z", None, None, None),
        ] {
            let renew_before = renew_before.map(|text: &str| text.parse().expect("a duration"));
            let time = renewal_time(at(begin), at(end), renew_before, percentage);
            assert_eq!(time, expected.map(at), "{end} {renew_before:?} {percentage:?}");
        }
    }

    #[test]
    fn ari_checks_are_early_and_not_too_frequent() {
        let now = at("2026-01-01T00:00:00Z");
        let wait = |retry_after| next_ari_check(now, retry_after, "a").duration_since(now).as_secs();
        assert!((5 * 3600..=6 * 3600).contains(&wait(None)));
        assert!((3000..=3600).contains(&wait(Some(Duration::from_secs(1)))));
        assert!(wait(Some(Duration::from_hours(24 * 365))) <= 7 * 24 * 3600);
        let first = |end: &str| first_ari_check(now, at(end), "a").map(|wait| wait.as_secs());
        assert!(first("2026-04-01T00:00:00Z").is_some_and(|wait| (3600..7 * 3600).contains(&wait)));
        assert!(first("2026-01-01T02:00:00Z").is_some_and(|wait| wait < 600));
        assert_eq!(first("2026-01-01T00:01:00Z"), None);
    }

    #[test]
    fn ari_window_after_latest_time_is_not_awaited() {
        let life = (at("2026-01-01T00:00:00Z"), at("2026-01-21T00:00:00Z"));
        let late = (at("2026-01-20T12:00:00Z"), at("2026-01-20T13:00:00Z"));
        assert_eq!(ari_renewal_time(late, life, "a"), at("2026-01-20T00:00:00Z"));
        // A window in the past means immediately.
        let past = (at("2026-01-02T00:00:00Z"), at("2026-01-02T01:00:00Z"));
        assert!(ari_renewal_time(past, life, "a") < at("2026-01-02T01:00:00Z"));
    }

    proptest! {
        #[test]
        fn renewal_is_inside_the_validity(
            begin in -10_000_000_000_i64..10_000_000_000,
            lifetime in 2_i64..10_000_000_000,
            renew_before in proptest::option::of(any::<i32>()),
            percentage in proptest::option::of(any::<i32>()),
        ) {
            let begin = Timestamp::from_second(begin).expect("a time");
            let end = begin + SignedDuration::from_secs(lifetime);
            let time = renewal_time(begin, end, renew_before.map(GoDuration::from_secs), percentage).expect("it lives");
            prop_assert!(begin <= time && time < end, "{} {} {}", begin, time, end);
            prop_assert_eq!(time.subsec_nanosecond(), 0);
        }
    }
}
