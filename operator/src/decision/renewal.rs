//! When a certificate is renewed. Knows lifetimes, nothing of how renewal happens.

use crds::duration::GoDuration;
use jiff::{SignedDuration, Timestamp};

/// When to renew a certificate, in whole seconds: `renewBefore` before its end if that is shorter than its lifetime, else
/// the percentage of its lifetime before its end, else a third. The formula is cert-manager's, to the second, so that a
/// certificate that it issued keeps its time.
///
/// `None` for a certificate whose end is not after its beginning.
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
    let asked = renew_before
        .map(|duration| SignedDuration::from_nanos(duration.as_nanos()))
        .filter(|before| *before > SignedDuration::ZERO && *before < lifetime);
    let by_percentage = renew_before_percentage
        .filter(|percentage| (1..100).contains(percentage))
        .map(|percentage| part(lifetime, i128::from(percentage), 100));
    let before = asked.or(by_percentage).unwrap_or_else(|| part(lifetime, 1, 3));
    let time = not_after.checked_sub(before).ok()?;
    // Down to the second, as metav1.Time holds it: a fraction would be written, lost and written again for ever.
    Some(crds::condition::whole_seconds(time).0)
}

/// So many parts of a duration, to the nanosecond below.
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
    fn the_formula_is_cert_managers_to_the_second() {
        let begin = "2026-01-01T00:00:00Z";
        for (end, renew_before, percentage, expected) in [
            // A third of 90 days, of 45 days, of 160 hours and of 100 seconds, which does not divide.
            ("2026-04-01T00:00:00Z", None, None, Some("2026-03-02T00:00:00Z")),
            ("2026-02-15T00:00:00Z", None, None, Some("2026-01-31T00:00:00Z")),
            ("2026-01-07T16:00:00Z", None, None, Some("2026-01-05T10:40:00Z")),
            ("2026-01-01T00:01:40Z", None, None, Some("2026-01-01T00:01:06Z")),
            ("2026-01-01T00:01:00Z", None, None, Some("2026-01-01T00:00:40Z")),
            // What is asked for, as far as it fits.
            ("2026-01-02T00:00:00Z", Some("1h"), None, Some("2026-01-01T23:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("24h"), None, Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("2160h"), None, Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("0s"), None, Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("-1h"), None, Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("1.5s"), None, Some("2026-01-01T23:59:58Z")),
            // Percent of the lifetime that are left.
            ("2026-01-02T00:00:00Z", None, Some(25), Some("2026-01-01T18:00:00Z")),
            ("2026-01-02T00:00:00Z", None, Some(99), Some("2026-01-01T00:14:24Z")),
            ("2026-01-02T00:00:00Z", None, Some(0), Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", None, Some(100), Some("2026-01-01T16:00:00Z")),
            ("2026-01-02T00:00:00Z", Some("48h"), Some(25), Some("2026-01-01T18:00:00Z")),
            // No lifetime at all.
            (begin, None, None, None),
            ("2025-12-31T00:00:00Z", None, None, None),
        ] {
            let renew_before = renew_before.map(|text: &str| text.parse().expect("a duration"));
            let seen = renewal_time(at(begin), at(end), renew_before, percentage);
            assert_eq!(seen, expected.map(at), "{end} {renew_before:?} {percentage:?}");
        }
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
