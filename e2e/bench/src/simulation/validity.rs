//! When a certificate is valid, and when the CA suggests renewing it. Times are in seconds since 1970, to keep the fleet small.
//!
//! Knows the CA's arithmetic; must not use the operator's. Next: `fleet.rs`.

use std::time::Duration;

use jiff::Timestamp;

/// Certificates with a shorter lifetime are best renewed after half of it, all others after two thirds.
const SHORT: Duration = Duration::from_hours(10 * 24);

/// The validity of a certificate, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: u32,
    pub(crate) not_after: u32,
}

/// The share of its lifetime after which a certificate is best renewed.
pub(crate) fn renewal_share(lifetime: Duration) -> f64 {
    if lifetime < SHORT { 1.0 / 2.0 } else { 2.0 / 3.0 }
}

/// The window that Boulder suggests (`core/objects.go`, `RenewalInfoSimple`): 2 % of the lifetime, around the best time.
pub(crate) fn suggested_window(validity: Validity) -> (Timestamp, Timestamp) {
    let lifetime = validity.not_after - validity.not_before;
    let part = if Duration::from_secs(lifetime.into()) < SHORT { 2 } else { 3 };
    let ideal = validity.not_after - lifetime / part;
    (timestamp(ideal - lifetime / 100), timestamp(ideal + lifetime / 100))
}

/// A time in whole seconds since 1970, as certificates store it. Simulations end before 2106.
pub(crate) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

pub(crate) fn timestamp(seconds: u32) -> Timestamp {
    Timestamp::from_second(i64::from(seconds)).expect("a time before 2106")
}
