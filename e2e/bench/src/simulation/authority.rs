//! A CA that enforces Let's Encrypt's published limits (<https://letsencrypt.org/docs/rate-limits/>) as Boulder does.
//!
//! Knows limits and orders. It has its own token buckets and must not use the operator's, so that both can't have the same bug.
//! Next: `client.rs` for the operator's side.

use std::time::Duration;

use crate::simulation::{
    fleet::{Id, Profile},
    validity::{Validity, seconds, suggested_window, timestamp},
};

/// How long before its issuance a certificate becomes valid, at Let's Encrypt.
const BACKDATED: Duration = Duration::from_hours(1);

/// How long an authorization may be pending, in the profiles `tlsserver` and `shortlived`.
const AUTHORIZATION_LIFETIME: Duration = Duration::from_hours(1);

/// How long an order can be finalized, in the same profiles.
const ORDER_LIFETIME: Duration = Duration::from_hours(8);

/// A kind of request, by the resource of RFC 8555 section 7.1 or RFC 9773.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    NewNonce,
    NewOrder,
    Authorization,
    Challenge,
    Finalize,
    Order,
    Certificate,
    RenewalInfo,
}

impl Request {
    pub(crate) const ALL: [(Self, &str); 8] = [
        (Self::NewNonce, "newNonce"),
        (Self::NewOrder, "newOrder"),
        (Self::Authorization, "authorization"),
        (Self::Challenge, "challenge"),
        (Self::Finalize, "finalize"),
        (Self::Order, "order"),
        (Self::Certificate, "certificate"),
        (Self::RenewalInfo, "renewalInfo"),
    ];

    fn limit(self) -> Limit {
        match self {
            Self::NewNonce => Limit::NewNonceRate,
            Self::NewOrder => Limit::NewOrderRate,
            Self::RenewalInfo => Limit::RenewalInfoRate,
            Self::Authorization | Self::Challenge | Self::Finalize | Self::Order | Self::Certificate => {
                Limit::OtherRate
            }
        }
    }
}

/// A published limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    NewOrders,
    ExactSet,
    AuthorizationFailures,
    ConsecutiveFailures,
    NewOrderRate,
    NewNonceRate,
    RenewalInfoRate,
    OtherRate,
}

impl Limit {
    pub(crate) const ALL: [(Self, &str); 8] = [
        (Self::NewOrders, "new orders per account, 300 in 3 h"),
        (Self::ExactSet, "certificates per exact set of identifiers, 5 in 7 d"),
        (Self::AuthorizationFailures, "authorization failures per identifier, 5 in 1 h"),
        (Self::ConsecutiveFailures, "consecutive authorization failures, 1152"),
        (Self::NewOrderRate, "newOrder requests, 300/s, burst 200"),
        (Self::NewNonceRate, "newNonce requests, 20/s, burst 10"),
        (Self::RenewalInfoRate, "renewalInfo requests, 1000/s, burst 100"),
        (Self::OtherRate, "other requests, 250/s, burst 125"),
    ];

    fn allowance(self) -> Allowance {
        let (seconds, times, burst) = match self {
            Self::NewOrders => (3 * 3600, 300, 300),
            Self::ExactSet => (7 * 24 * 3600, 5, 5),
            Self::AuthorizationFailures => (3600, 5, 5),
            Self::ConsecutiveFailures => (24 * 3600, 1, 1152),
            Self::NewOrderRate => (1, 300, 200),
            Self::NewNonceRate => (1, 20, 10),
            Self::RenewalInfoRate => (1, 1000, 100),
            Self::OtherRate => (1, 250, 125),
        };
        Allowance { interval: Duration::from_secs(seconds) / times, burst }
    }
}

/// A rejected request: the limit, and how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) limit: Limit,
    pub(crate) retry_after: Duration,
}

/// A token bucket that gains one token per interval and holds at most `burst`. Its state is the time at which it is full again.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    interval: Duration,
    burst: u32,
}

impl Allowance {
    /// How long until the bucket has `times` tokens.
    fn wait(self, full: Duration, now: Duration, times: u32) -> Duration {
        (full.max(now) + self.interval * times).saturating_sub(now + self.interval * self.burst)
    }

    /// Takes `times` tokens. Returns when the bucket is full again.
    fn take(self, full: Duration, now: Duration, times: u32) -> Duration {
        full.max(now) + self.interval * times
    }
}

/// What the CA stores of a set of identifiers, here always one name: its buckets, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    exact_set: u32,
    failures: u32,
    consecutive_failures: u32,
    was_issued: bool,
}

pub(crate) struct Authority {
    names: Vec<Name>,
    /// The buckets of limits that are not counted by name.
    buckets: [Duration; Limit::ALL.len()],
    rejected: [u64; Limit::ALL.len()],
}

impl Authority {
    /// A CA that has already issued certificates for this number of names.
    pub(crate) fn new(names: u32) -> Self {
        let name = Name { was_issued: true, ..Name::default() };
        Self {
            names: vec![name; usize::try_from(names).unwrap_or(usize::MAX)],
            buckets: [Duration::ZERO; Limit::ALL.len()],
            rejected: [0; Limit::ALL.len()],
        }
    }

    /// How often each limit rejected a request.
    pub(crate) fn rejected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::ALL.iter().zip(self.rejected).map(|((_, name), times)| (*name, times))
    }

    /// Accepts all of several requests of a kind, or none of them.
    pub(crate) fn request(&mut self, request: Request, now: Duration, times: u32) -> Result<(), Rejection> {
        self.take(request.limit(), now, times)
    }

    /// Accepts an order for a name. `replaces` is the validity of the certificate that the order says it replaces: within the suggested
    /// window, the order counts against no limit (RFC 9773 section 5). An order for a name that had a certificate does not count as one of
    /// the account's new orders.
    pub(crate) fn order(
        &mut self,
        id: Id,
        replaces: Option<Validity>,
        now: Duration,
    ) -> Result<(), Rejection> {
        let second = timestamp(seconds(now));
        let window = replaces.map(suggested_window);
        if window.is_some_and(|(start, end)| start <= second && second < end) {
            return Ok(());
        }
        let name = *self.name(id);
        for (limit, full) in [
            (Limit::ExactSet, name.exact_set),
            (Limit::AuthorizationFailures, name.failures),
            (Limit::ConsecutiveFailures, name.consecutive_failures),
        ] {
            let retry_after = limit.allowance().wait(Duration::from_secs(full.into()), now, 1);
            self.reject_unless_zero(limit, retry_after, 1)?;
        }
        if name.was_issued { Ok(()) } else { self.take(Limit::NewOrders, now, 1) }
    }

    /// Whether an order's authorization can still be validated.
    pub(crate) fn is_pending(ordered: u32, now: Duration) -> bool {
        now < Duration::from_secs(ordered.into()) + AUTHORIZATION_LIFETIME
    }

    /// Whether an order can still be finalized.
    pub(crate) fn is_open(ordered: u32, now: Duration) -> bool {
        now < Duration::from_secs(ordered.into()) + ORDER_LIFETIME
    }

    /// Counts a failed validation of a name.
    pub(crate) fn fail(&mut self, id: Id, now: Duration) {
        let name = self.name(id);
        for (limit, full) in [
            (Limit::AuthorizationFailures, &mut name.failures),
            (Limit::ConsecutiveFailures, &mut name.consecutive_failures),
        ] {
            *full = seconds(limit.allowance().take(Duration::from_secs((*full).into()), now, 1));
        }
    }

    /// Issues a certificate, and counts it.
    pub(crate) fn issue(&mut self, id: Id, profile: Profile, now: Duration) -> Validity {
        let name = self.name(id);
        let full = Duration::from_secs(name.exact_set.into());
        name.exact_set = seconds(Limit::ExactSet.allowance().take(full, now, 1));
        name.consecutive_failures = 0;
        name.was_issued = true;
        let not_before = now.saturating_sub(BACKDATED);
        Validity { not_before: seconds(not_before), not_after: seconds(not_before + profile.lifetime()) }
    }

    fn name(&mut self, id: Id) -> &mut Name {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        if index >= self.names.len() {
            self.names.resize(index + 1, Name::default());
        }
        &mut self.names[index]
    }

    fn take(&mut self, limit: Limit, now: Duration, times: u32) -> Result<(), Rejection> {
        let full = self.buckets[limit as usize];
        self.reject_unless_zero(limit, limit.allowance().wait(full, now, times), times)?;
        self.buckets[limit as usize] = limit.allowance().take(full, now, times);
        Ok(())
    }

    /// Counts rejections if the limit requires a wait.
    fn reject_unless_zero(
        &mut self,
        limit: Limit,
        retry_after: Duration,
        times: u32,
    ) -> Result<(), Rejection> {
        if retry_after.is_zero() {
            return Ok(());
        }
        self.rejected[limit as usize] += u64::from(times);
        Err(Rejection { limit, retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_hours(500_000);

    /// A limit accepts its burst, and then one request per interval.
    #[test]
    fn limit_accepts_a_burst_then_one_per_interval() {
        let mut authority = Authority::new(0);
        assert!((0..300).all(|id| authority.order(id, None, NOW).is_ok()));
        let rejection = authority.order(300, None, NOW).expect_err("300 orders are the limit");
        assert_eq!(rejection, Rejection { limit: Limit::NewOrders, retry_after: Duration::from_secs(36) });
        assert_eq!(authority.order(300, None, NOW + rejection.retry_after), Ok(()));
        let rejected: u64 = authority.rejected().map(|(_, times)| times).sum();
        assert_eq!(rejected, 1);
    }

    /// Renewals do not count as new orders, and within the suggested window they count against no limit.
    #[test]
    fn renewals_are_exempt_from_new_order_limits() {
        let mut authority = Authority::new(400);
        assert!((0..400).all(|id| authority.order(id, None, NOW).is_ok()));
        let validity = (0..5)
            .map(|_| authority.issue(7, Profile::Shortlived, NOW))
            .last()
            .expect("the loop issues five");
        let late = authority.order(7, Some(validity), NOW).expect_err("five per set are the limit");
        assert_eq!(late.limit, Limit::ExactSet);
        let (start, _) = suggested_window(validity);
        let start =
            Duration::try_from(start.duration_since(jiff::Timestamp::UNIX_EPOCH)).expect("a time after 1970");
        assert_eq!(authority.order(7, Some(validity), start), Ok(()));
    }

    #[test]
    fn name_is_rejected_after_five_failures() {
        let mut authority = Authority::new(1);
        for _ in 0..5 {
            assert_eq!(authority.order(0, None, NOW), Ok(()));
            authority.fail(0, NOW);
        }
        let rejection = authority.order(0, None, NOW).expect_err("five failures are the limit");
        assert_eq!(rejection.limit, Limit::AuthorizationFailures);
    }
}
