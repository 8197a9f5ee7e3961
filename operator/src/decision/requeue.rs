//! When an object is reconciled again.

use std::time::Duration;

use jiff::Timestamp;

use super::backoff::fraction;

/// When an object is reconciled again if nothing enqueues it before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Requeue {
    /// After this long, or at the next resync if that is earlier.
    After(Duration),
    /// Only when something enqueues it: a watch, another controller, or the list of settled Certificates.
    OnChange,
    /// At the next resync, which finds what a watch has missed.
    #[default]
    Resync,
}

impl Requeue {
    /// At a time. One that has passed means immediately.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use operator::decision::Requeue;
    ///
    /// let now = "2026-01-01T00:00:00Z".parse()?;
    /// assert_eq!(Requeue::at("2026-01-01T00:01:00Z".parse()?, now), Requeue::After(Duration::from_secs(60)));
    /// assert_eq!(Requeue::at("2025-01-01T00:00:00Z".parse()?, now), Requeue::After(Duration::ZERO));
    /// # Ok::<(), jiff::Error>(())
    /// ```
    pub fn at(time: Timestamp, now: Timestamp) -> Self {
        Self::After(Duration::try_from(time.duration_since(now)).unwrap_or_default())
    }

    /// How long to wait, if for a time. A resync is up to a quarter earlier than `resync`, by a hash of the seed: after a start, objects
    /// are not all reconciled in the same second of each hour.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use operator::decision::Requeue;
    ///
    /// let hour = Duration::from_secs(3600);
    /// let waits = ["a", "b"].map(|name| Requeue::Resync.wait(hour, name).unwrap_or_default());
    /// assert!(waits.iter().all(|wait| (hour * 3 / 4..=hour).contains(wait)) && waits[0] != waits[1]);
    /// assert_eq!(Requeue::After(2 * hour).wait(hour, "a"), Some(hour));
    /// assert_eq!(Requeue::OnChange.wait(hour, "a"), None);
    /// ```
    pub fn wait(self, resync: Duration, seed: &str) -> Option<Duration> {
        match self {
            Self::After(wait) => Some(wait.min(resync)),
            Self::OnChange => None,
            Self::Resync => Some(resync.mul_f64(1.0 - fraction(seed, &[]) / 4.0)),
        }
    }

    /// The earlier of two. A resync is later than any stated wait, because the runner caps waits at its interval.
    pub fn earliest(self, other: Self) -> Self {
        match (self, other) {
            (Self::After(one), Self::After(other)) => Self::After(one.min(other)),
            (after @ Self::After(_), _) | (_, after @ Self::After(_)) => after,
            (Self::Resync, _) | (_, Self::Resync) => Self::Resync,
            (Self::OnChange, Self::OnChange) => Self::OnChange,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_prefers_stated_waits_then_resync() {
        let (short, long) = (Requeue::After(Duration::from_secs(1)), Requeue::After(Duration::from_secs(9)));
        for (one, other, expected) in [
            (short, long, short),
            (long, Requeue::Resync, long),
            (Requeue::OnChange, long, long),
            (Requeue::OnChange, Requeue::Resync, Requeue::Resync),
            (Requeue::OnChange, Requeue::OnChange, Requeue::OnChange),
        ] {
            assert_eq!(one.earliest(other), expected);
            assert_eq!(other.earliest(one), expected);
        }
    }
}
