//! When an issuance that has failed is tried again.
//!
//! Knows how long a certificate in use is still valid; must not know the steps of an issuance, which are in `issuance.rs`.

use std::time::Duration;

use crds::condition;
use jiff::{SignedDuration, Timestamp};

use super::{
    Deciding, DesiredCertificate, SecretView,
    issuance::{csr_of, reason_of},
};
use crate::{
    decision::{backoff::IssuanceBackoff, limits::later},
    reason::Reason,
};

/// The wait after the first failure that the CA has not seen.
const UNCOUNTED_BACKOFF: Duration = Duration::from_mins(1);

impl Deciding<'_> {
    /// How long the last failure still delays the next attempt. A spec that has changed since then is tried immediately.
    pub(super) fn backoff(&self, desired: &DesiredCertificate) -> Option<Duration> {
        let failed = self.status.last_failure_time.as_ref()?.0;
        let issuing = condition::find(&self.status.conditions, condition::ISSUING);
        let seen = issuing.and_then(|issuing| issuing.observed_generation);
        let is_edited = seen.is_some_and(|seen| Some(seen) != self.view.certificate.metadata.generation);
        // A user may delete the request that has failed to try again.
        let changed = is_edited
            || self
                .next_request()
                .is_none_or(|request| csr_of(&request).is_ok() && !self.matches_spec(desired, &request));
        let attempts = self.status.failed_issuance_attempts.unwrap_or(1);
        let reason = issuing.and_then(reason_of);
        let next = self.next_attempt(reason, failed, attempts);
        if changed { None } else { until(next, self.view.now) }
    }

    /// When the next attempt is after a failure: sooner if a certificate that works would expire before, or has expired.
    pub(super) fn next_attempt(&self, reason: Option<Reason>, failed: Timestamp, attempts: i64) -> Timestamp {
        let next = self.backoff_after(reason).next_attempt(failed, attempts);
        let leaf = self.view.secret.filter(|secret| !secret.temporary).and_then(SecretView::leaf);
        let longest = leaf.map(|leaf| longest_backoff(leaf.not_before, leaf.not_after, failed));
        longest.map_or(next, |longest| next.min(later(failed, longest)))
    }

    /// The backoff after a failure. One that the CA has not seen costs none of its limits, and is tried again soon.
    fn backoff_after(&self, reason: Option<Reason>) -> IssuanceBackoff {
        let backoff = self.view.backoff;
        let is_decided_here =
            matches!(reason, Some(Reason::Failed | Reason::Denied | Reason::InvalidRequest));
        if self.view.order_counts || !is_decided_here {
            return backoff;
        }
        IssuanceBackoff { minimum: backoff.minimum.min(UNCOUNTED_BACKOFF), ..backoff }
    }
}

/// The longest wait after a failure while a certificate is in use: an eighth of the time that is left, but not so short that the CA's
/// limits would be used up, and an hour once it has expired.
fn longest_backoff(not_before: Timestamp, not_after: Timestamp, failed: Timestamp) -> Duration {
    let positive = |it: SignedDuration| Duration::try_from(it).unwrap_or_default();
    let (lifetime, left) =
        (positive(not_after.duration_since(not_before)), positive(not_after.duration_since(failed)));
    if left.is_zero() {
        return Duration::from_hours(1);
    }
    (left / 8).max((lifetime / 12).min(Duration::from_mins(15)))
}

/// How long until a time; `None` if it has passed.
fn until(time: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(time.duration_since(now)).ok().filter(|wait| !wait.is_zero())
}
