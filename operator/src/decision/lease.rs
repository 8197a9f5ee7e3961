//! Leader election: what a process may do after it has read the Lease.
//!
//! Knows the record and for how long it has not changed; must not know requests. Timestamps in the record are written by other
//! machines and are never compared with a clock. Next: `k8s/lease.rs`.

use std::time::Duration;

use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};

/// What a process may do after it has read the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It may write the Lease in its own name: no other process holds it, or the holder has not renewed in time.
    Take,
    /// Another process holds it, and loses it after this time if it does not renew.
    Wait(Duration),
}

/// Decides after a read. `own` is the lease duration of this process; `unchanged_for` is the time, by a local monotonic clock, since
/// this version of the record was first read.
///
/// A record in the name of this process is its own: the identity has the Pod's UID, and the kubelet starts a container only after the
/// former one of the same Pod has ended.
///
/// ```
/// use std::time::Duration;
/// use k8s_openapi::api::coordination::v1::LeaseSpec;
/// use operator::decision::lease::{Claim, claim};
///
/// let record = LeaseSpec {
///     holder_identity: Some("other".to_owned()),
///     lease_duration_seconds: Some(60),
///     ..LeaseSpec::default()
/// };
/// let own = Duration::from_secs(15);
/// assert_eq!(claim(&record, "us", own, Duration::from_secs(20)), Claim::Wait(Duration::from_secs(40)));
/// assert_eq!(claim(&record, "us", own, Duration::from_secs(60)), Claim::Take);
/// ```
pub fn claim(record: &LeaseSpec, identity: &str, own: Duration, unchanged_for: Duration) -> Claim {
    let holder = record.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() || holder == identity {
        return Claim::Take;
    }
    let theirs = record.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    // The holder counts on its own duration: cert-manager's is a minute.
    let valid_for = own.max(Duration::from_secs(theirs.unwrap_or_default()));
    match valid_for.saturating_sub(unchanged_for) {
        Duration::ZERO => Claim::Take,
        left => Claim::Wait(left),
    }
}

/// The record after a process has acquired or renewed the Lease.
pub fn claimed(old: &LeaseSpec, identity: &str, duration: Duration, now: &MicroTime) -> LeaseSpec {
    let is_renewal = old.holder_identity.as_deref() == Some(identity);
    let transitions = old.lease_transitions.unwrap_or_default();
    let has_held = old.holder_identity.is_some() && !is_renewal;
    LeaseSpec {
        acquire_time: old.acquire_time.clone().filter(|_| is_renewal).or_else(|| Some(now.clone())),
        holder_identity: Some(identity.to_owned()),
        // Rounded up, because others count on it, and 0 is invalid.
        lease_duration_seconds: i32::try_from(duration.as_millis().div_ceil(1000).max(1)).ok(),
        lease_transitions: Some(transitions.saturating_add(i32::from(has_held))),
        renew_time: Some(now.clone()),
        ..LeaseSpec::default()
    }
}

/// Whether the API server has forgotten a write: it now has an older version than the one that this process has written. Its database
/// was restored from a backup, and whatever this process knows may be wrong.
pub fn is_rewound(written: Option<u64>, read: Option<u64>) -> bool {
    written.zip(read).is_some_and(|(written, read)| read < written)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const OWN: Duration = Duration::from_secs(15);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held_by(holder: &str, duration: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: duration,
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn holder_is_waited_for_as_long_as_it_counts() {
        for (holder, duration, unchanged_for, expected) in [
            ("other", Some(15), 0, Claim::Wait(seconds(15))),
            ("other", Some(15), 14, Claim::Wait(seconds(1))),
            ("other", Some(15), 15, Claim::Take),
            // cert-manager holds it for a minute, and renews every 15 seconds.
            ("other", Some(60), 15, Claim::Wait(seconds(45))),
            ("other", Some(60), 60, Claim::Take),
            // A holder with a shorter duration, or without one, is not robbed by us.
            ("other", Some(1), 14, Claim::Wait(seconds(1))),
            ("other", None, 15, Claim::Take),
            ("other", Some(-1), 15, Claim::Take),
            ("other", Some(i32::MAX), 3600, Claim::Wait(seconds(2_147_483_647 - 3600))),
            // Released, and our own.
            ("", Some(1), 0, Claim::Take),
            ("us", Some(60), 0, Claim::Take),
        ] {
            let claim = claim(&held_by(holder, duration), "us", OWN, seconds(unchanged_for));
            assert_eq!(claim, expected, "{holder:?} {duration:?} after {unchanged_for} s");
        }
        assert_eq!(claim(&LeaseSpec::default(), "us", OWN, Duration::ZERO), Claim::Take);
    }

    /// The clocks of two nodes may differ by a minute, either way.
    #[test]
    fn renew_time_of_another_clock_does_not_matter() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        for skew in [-60, 0, 60] {
            let written = MicroTime(now + jiff::SignedDuration::from_secs(skew));
            let record = LeaseSpec {
                acquire_time: Some(written.clone()),
                renew_time: Some(written),
                ..held_by("other", Some(15))
            };
            assert_eq!(claim(&record, "us", OWN, seconds(14)), Claim::Wait(seconds(1)), "{skew}");
            assert_eq!(claim(&record, "us", OWN, seconds(15)), Claim::Take, "{skew}");
        }
    }

    #[test]
    fn takeover_counts_and_renewal_does_not() {
        let at = |second| MicroTime(Timestamp::from_second(second).expect("a time"));
        let created = claimed(&LeaseSpec::default(), "a", OWN, &at(1));
        assert_eq!((created.lease_transitions, created.lease_duration_seconds), (Some(0), Some(15)));
        let renewed = claimed(&created, "a", OWN, &at(2));
        assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(0), Some(at(1))));
        assert_eq!(renewed.renew_time, Some(at(2)));
        let taken = claimed(&created, "b", Duration::from_millis(1), &at(3));
        assert_eq!((taken.lease_transitions, taken.acquire_time), (Some(1), Some(at(3))));
        assert_eq!(taken.lease_duration_seconds, Some(1));
    }

    #[test]
    fn older_version_is_rewound() {
        assert!(is_rewound(Some(10), Some(9)));
        assert!(!is_rewound(Some(10), Some(10)) && !is_rewound(Some(10), Some(11)));
        assert!(!is_rewound(None, Some(1)) && !is_rewound(Some(1), None));
    }
}
