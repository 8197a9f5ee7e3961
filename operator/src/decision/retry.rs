//! When a reconcile that has failed is retried.
//!
//! Knows kinds of failures; must not know which controller failed. ACME errors have their own table in `reaction.rs`, whose result
//! arrives here as a wait.

use std::time::Duration;

use super::{Requeue, backoff};

/// How long to wait after a conflict. The change that caused it enqueues the object; this is for one that was reported before.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);

/// How long to wait for the watch to report the operator's own last write. The report enqueues the object; this is for a watch that lags.
const AFTER_STALE_READ: Duration = Duration::from_secs(1);

/// The longest wait for something that no watch shows, such as a quota or an admission policy: once a user has changed it, the
/// object must not wait for minutes.
pub const LONGEST_UNWATCHED: Duration = Duration::from_secs(30);

/// How many conflicts in a row are how controllers work. More are a problem, such as another writer of the same object.
const CONFLICTS: u32 = 20;

/// How long a watch may take to report a change that the operator has made. Afterwards the cache counts again.
pub const EXPECTATION_TTL: Duration = Duration::from_secs(2);

/// Why a reconcile did not succeed, as far as that decides about the retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The object or its dependencies were changed or deleted since they were read.
    Conflict,
    /// The cache does not show the operator's own last write yet.
    StaleRead,
    /// The namespace is being deleted, and its objects with it.
    NamespaceTerminating,
    /// A decision or a server has said how long to wait.
    Wait(Duration),
    /// The API server rejects a request, or another object lacks something. Users can change that, and no watch shows it.
    Unwatched,
    /// Anything else: it may pass.
    Other,
}

/// When to reconcile again after a failure. `attempt` is how often the object has failed in a row before, `seed` tells objects apart, so
/// that they do not retry in step.
///
/// ```
/// use std::time::Duration;
///
/// use operator::decision::{Requeue, retry::{Failure, after}};
///
/// assert_eq!(after(Failure::Wait(Duration::from_secs(7)), 0, "a"), Requeue::After(Duration::from_secs(7)));
/// assert_eq!(after(Failure::NamespaceTerminating, 3, "a"), Requeue::Resync);
/// ```
pub fn after(failure: Failure, attempt: u32, seed: &str) -> Requeue {
    match failure {
        Failure::Conflict => Requeue::After(AFTER_CONFLICT),
        Failure::StaleRead => Requeue::After(AFTER_STALE_READ),
        Failure::NamespaceTerminating => Requeue::Resync,
        Failure::Wait(wait) => Requeue::After(wait),
        Failure::Unwatched => Requeue::After(backoff::after_error(attempt, seed).min(LONGEST_UNWATCHED)),
        Failure::Other => Requeue::After(backoff::after_error(attempt, seed)),
    }
}

impl Failure {
    /// Whether the failure is worth a log line and an error in the metrics. The others are how controllers work.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Wait(_) | Self::Unwatched | Self::Other)
    }

    /// The failure after so many conflicts in a row.
    #[must_use]
    pub const fn after_conflicts(self, conflicts: u32) -> Self {
        match self {
            Self::Conflict if conflicts >= CONFLICTS => Self::Unwatched,
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unknown_failures_back_off() {
        let wait = |failure, attempt| match after(failure, attempt, "a") {
            Requeue::After(wait) => wait,
            other => panic!("{failure:?}: {other:?}"),
        };
        assert!(wait(Failure::Other, 5) > wait(Failure::Other, 1));
        assert!(wait(Failure::Other, 9) > LONGEST_UNWATCHED);
        assert_eq!(wait(Failure::Unwatched, 9), LONGEST_UNWATCHED);
        for failure in [Failure::Conflict, Failure::StaleRead] {
            assert_eq!(wait(failure, 5), wait(failure, 0));
        }
    }
}
