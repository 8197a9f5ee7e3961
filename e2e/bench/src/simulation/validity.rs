//! When a certificate is valid, and when the CA suggests to renew it. Times are in seconds since 1970, to keep a fleet small.

use std::time::Duration;

use jiff::Timestamp;

/// Below which lifetime a certificate is renewed at half of it, not at two thirds.
const SHORT: Duration = Duration::from_hours(10 * 24);

/// From when to when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: u32,
    pub(crate) not_after: u32,
}

/// At which share of its lifetime a certificate is best renewed.
pub(crate) fn renewal_share(lifetime: Duration) -> f64 {
    if lifetime < SHORT { 1.0 / 2.0 } else { 2.0 / 3.0 }
}

/// The window that Boulder suggests (`core/objects.go`, `RenewalInfoSimple`): a fiftieth of the lifetime, around the best time.
pub(crate) fn suggested_window(validity: Validity) -> (Timestamp, Timestamp) {
    let lifetime = validity.not_after - validity.not_before;
    let part = if Duration::from_secs(lifetime.into()) < SHORT { 2 } else { 3 };
    let ideal = validity.not_after - lifetime / part;
    (timestamp(ideal - lifetime / 100), timestamp(ideal + lifetime / 100))
}

/// A time as it stands in a certificate. Simulations end before 2106.
pub(crate) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

pub(crate) fn timestamp(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).expect("a time before 2106")
}
