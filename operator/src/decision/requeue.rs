//! When an object is reconciled again.

use std::time::Duration;

use jiff::Timestamp;

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
