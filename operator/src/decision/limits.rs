//! Rate limits of a CA: a token bucket for requests, and the new-order slots of an account.
//!
//! Knows rates and times; must not read a clock, so callers pass the time in. Next: `acme/server/rate_limiter.rs` and `accounts.rs`, which
//! store the values, and the simulation.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The period in which Let's Encrypt counts an account's new orders.
const PERIOD: Duration = Duration::from_hours(3);

/// An order whose slot has come is placed even if its token is still missing by less than this.
const ROUNDING: Duration = Duration::from_millis(100);

/// Let's Encrypt's words for the limit on an account's new orders, which no other limit's message contains.
const TOO_MANY: &str = "too many new orders";

/// A limit on how often something happens: at a steady rate, with a burst after an idle period.
///
/// Time is the duration since a moment that the caller chooses, and never runs backward.
///
/// ```
/// use std::time::Duration;
///
/// use operator::decision::limits::TokenBucket;
///
/// let mut bucket = TokenBucket::new(10.0, 2.0);
/// let waits: Vec<_> = (0..4).map(|_| bucket.take(Duration::ZERO).as_millis()).collect();
/// assert_eq!(waits, [0, 0, 100, 200]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Tokens per second.
    rate: f64,
    burst: f64,
    /// The number of tokens at the time `at`. Negative if callers are waiting for tokens that they have taken.
    level: f64,
    at: Duration,
}

impl TokenBucket {
    /// A full bucket that gains `rate` tokens per second and holds at most `burst`.
    pub fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, level: burst, at: Duration::ZERO }
    }

    /// Takes a token. Returns how long the caller must wait before using it.
    pub fn take(&mut self, now: Duration) -> Duration {
        self.level = self.level(now) - 1.0;
        self.at = self.at.max(now);
        self.until(0.0 - self.level)
    }

    /// How long until a token can be taken without a wait.
    pub fn wait(&self, now: Duration) -> Duration {
        self.until(1.0 - self.level(now))
    }

    /// The number of tokens now. Negative if callers are waiting for tokens that they have taken.
    pub fn level(&self, now: Duration) -> f64 {
        (self.level + now.saturating_sub(self.at).as_secs_f64() * self.rate).min(self.burst)
    }

    /// How long until so many tokens have come in.
    fn until(&self, missing: f64) -> Duration {
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(missing / self.rate).unwrap_or(Duration::MAX)
    }
}

/// How many new orders an account may place within 3 hours at the CA with this directory, not counting renewals: the number in the
/// issuer's annotation, otherwise the limit that the CA publishes. `None` if there is neither.
///
/// ```
/// use operator::decision::limits::new_orders_in_3_hours;
///
/// let production = "https://acme-v02.api.letsencrypt.org/directory";
/// assert_eq!(new_orders_in_3_hours(production, None), Some(300));
/// assert_eq!(new_orders_in_3_hours(production, Some("5000")), Some(5000));
/// assert_eq!(new_orders_in_3_hours(production, Some("many")), Some(300));
/// assert_eq!(new_orders_in_3_hours("https://ca.example.com/directory", None), None);
/// ```
pub fn new_orders_in_3_hours(directory_url: &str, annotation: Option<&str>) -> Option<u32> {
    annotation.and_then(number_of_orders).or_else(|| {
        match directory_url.strip_prefix("https://")?.split(['/', ':']).next()? {
            "acme-v02.api.letsencrypt.org" => Some(300),
            "acme-staging-v02.api.letsencrypt.org" => Some(1500),
            _ => None,
        }
    })
}

/// The value of the annotation, if it is a number greater than zero.
pub fn number_of_orders(annotation: &str) -> Option<u32> {
    annotation.trim().parse().ok().filter(|number| *number > 0)
}

/// Whether the problem detail of a rejected order is about the account's number of new orders, not about the order's names.
pub fn is_about_new_orders(detail: &str) -> bool {
    detail.contains(TOO_MANY)
}

/// Whether an order may be placed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewOrderSlot {
    /// It may, and has been counted.
    Now,
    /// It has a slot at this time, and asks again then. It has not been counted.
    At(Timestamp),
}

/// The new orders of one account.
///
/// An order is counted when it is placed, not when it gets a slot: after an outage, the slots of hundreds have passed unused.
#[derive(Clone, Copy, Debug)]
pub struct NewOrders {
    limit: Option<u32>,
    placed: TokenBucket,
    /// The next free slot, for an order that cannot be placed immediately.
    next: Timestamp,
    /// Slots before this time are void, because the CA has said to wait until then.
    open: Timestamp,
}

impl NewOrders {
    /// An account without orders. `limit` is the number of orders that the CA allows in 3 hours; `None` if it does not publish one.
    ///
    /// The burst is 2% smaller than the limit, because orders reach the CA with varying delays.
    pub fn new(limit: Option<u32>) -> Self {
        let allowed = limit.map_or(f64::INFINITY, f64::from);
        let burst = (allowed - (allowed / 50.0).ceil()).max(1.0);
        let placed = match limit {
            Some(_) => TokenBucket::new(allowed / PERIOD.as_secs_f64(), burst),
            None => TokenBucket::new(f64::MAX, f64::MAX),
        };
        Self { limit, placed, next: Timestamp::MIN, open: Timestamp::MIN }
    }

    /// Changes the number of orders that the CA allows in 3 hours. Orders placed before still count.
    pub fn set_limit(&mut self, limit: Option<u32>) {
        if limit != self.limit {
            let TokenBucket { rate, burst, .. } = Self::new(limit).placed;
            self.placed =
                TokenBucket { rate, burst, level: self.placed.level.min(burst), at: self.placed.at };
            self.limit = limit;
        }
    }

    /// Places an order if it may be placed now, otherwise returns its slot: first come, first served. `held` is the slot that the order
    /// got before.
    pub fn slot(&mut self, now: Timestamp, held: Option<Timestamp>) -> NewOrderSlot {
        let held = held.filter(|slot| *slot >= self.open);
        match held {
            Some(slot) if now < slot => NewOrderSlot::At(slot),
            None if self.others_wait(now) => self.next_slot(now),
            _ if self.placed.wait(elapsed(now)) < ROUNDING => {
                self.placed.take(elapsed(now));
                NewOrderSlot::Now
            }
            _ => self.next_slot(now),
        }
    }

    /// Closes the account, because the CA has rejected a new order and said to place none until then.
    pub fn close(&mut self, until: Timestamp) {
        if until <= self.open {
            return;
        }
        self.open = until;
        self.next = until;
        if self.limit.is_some() {
            // The CA lets one order through then.
            self.placed = TokenBucket { level: 1.0, at: elapsed(until), ..self.placed };
        }
    }

    /// Whether nothing has to be remembered: the account is as if it had placed no order, and no slot is to come.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        now >= self.open && now >= self.next && self.placed.level(elapsed(now)) >= self.placed.burst
    }

    /// Whether earlier orders wait for their slots, so that a new one has to wait as well. Many tokens that are left over mean that
    /// these slots were abandoned.
    fn others_wait(&self, now: Timestamp) -> bool {
        now < self.open || now < self.next && self.placed.level(elapsed(now)) < self.placed.burst / 10.0
    }

    fn next_slot(&mut self, now: Timestamp) -> NewOrderSlot {
        let slot = self.next.max(later(now, self.placed.wait(elapsed(now))));
        self.next = later(slot, Duration::try_from_secs_f64(1.0 / self.placed.rate).unwrap_or_default());
        NewOrderSlot::At(slot)
    }
}

fn elapsed(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

/// A time `by` later; the end of time if it does not exist.
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// This many seconds after an arbitrary start.
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    #[test]
    fn bucket_fills_up_to_its_burst() {
        let mut bucket = TokenBucket::new(1.0, 3.0);
        let hour = Duration::from_hours(1);
        let waits: Vec<_> = (0..5).map(|_| bucket.take(hour).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2]);
        assert_eq!(bucket.wait(hour), Duration::from_secs(3));
        assert_eq!(bucket.wait(hour + Duration::from_secs(3)), Duration::ZERO);
    }

    #[test]
    fn orders_beyond_the_burst_get_slots_in_order() {
        let mut orders = NewOrders::new(Some(300));
        let slots: Vec<_> = (0..300).map(|_| orders.slot(at(0), None)).collect();
        assert!(slots[..294].iter().all(|slot| *slot == NewOrderSlot::Now));
        let waiting: Vec<_> = (1..=6).map(|place| NewOrderSlot::At(at(36 * place))).collect();
        assert_eq!(slots[294..], waiting);
        // An order keeps its slot, and no later order gets ahead of it.
        assert_eq!(orders.slot(at(1), Some(at(36))), NewOrderSlot::At(at(36)));
        assert_eq!(orders.slot(at(36), None), NewOrderSlot::At(at(252)));
        assert_eq!(orders.slot(at(36), Some(at(36))), NewOrderSlot::Now);
    }

    #[test]
    fn abandoned_slots_delay_no_other_order() {
        let mut orders = NewOrders::new(Some(300));
        for _ in 0..1000 {
            orders.slot(at(0), None);
        }
        assert!(matches!(orders.slot(at(600), None), NewOrderSlot::At(_)));
        assert_eq!(orders.slot(at(7200), None), NewOrderSlot::Now);
    }

    #[test]
    fn late_orders_are_not_all_placed_together() {
        let mut orders = NewOrders::new(Some(300));
        let slots: Vec<_> = (0..1294).map(|_| orders.slot(at(0), None)).collect();
        let day = at(24 * 3600);
        let late = slots[294..].iter().map(|slot| match slot {
            NewOrderSlot::At(slot) => orders.slot(day, Some(*slot)),
            NewOrderSlot::Now => NewOrderSlot::Now,
        });
        assert_eq!(late.filter(|slot| *slot == NewOrderSlot::Now).count(), 294);
    }

    #[test]
    fn rejection_closes_the_account_for_the_given_time() {
        let mut orders = NewOrders::new(Some(300));
        assert_eq!(orders.slot(at(0), None), NewOrderSlot::Now);
        orders.close(at(600));
        orders.close(at(500));
        assert_eq!(orders.slot(at(1), Some(at(1))), NewOrderSlot::At(at(600)));
        assert_eq!(orders.slot(at(1), None), NewOrderSlot::At(at(636)));
        assert_eq!(orders.slot(at(600), Some(at(600))), NewOrderSlot::Now);
        assert_eq!(orders.slot(at(636), Some(at(636))), NewOrderSlot::Now);
        assert_eq!(orders.slot(at(637), None), NewOrderSlot::At(at(672)));
    }

    #[test]
    fn unlimited_account_waits_only_while_closed() {
        let mut orders = NewOrders::new(None);
        assert!((0..10_000).all(|_| orders.slot(at(0), None) == NewOrderSlot::Now));
        orders.close(at(60));
        assert_eq!(orders.slot(at(1), None), NewOrderSlot::At(at(60)));
        assert_eq!(orders.slot(at(60), Some(at(60))), NewOrderSlot::Now);
    }

    #[test]
    fn new_limit_keeps_earlier_orders_counted() {
        let mut orders = NewOrders::new(Some(300));
        assert!((0..294).all(|_| orders.slot(at(0), None) == NewOrderSlot::Now));
        for limit in [Some(3000), Some(300)] {
            orders.set_limit(limit);
            assert!(matches!(orders.slot(at(1), None), NewOrderSlot::At(_)), "{limit:?}");
        }
        orders.set_limit(Some(3000));
        assert_eq!(orders.slot(at(3600), None), NewOrderSlot::Now);
    }

    #[test]
    fn only_the_account_limit_is_about_new_orders() {
        assert!(is_about_new_orders(
            "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-01-01 00:00:00 UTC"
        ));
        assert!(!is_about_new_orders(
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s"
        ));
    }

    proptest! {
        /// Whenever orders ask, the CA's own bucket has a token for each that is placed.
        #[test]
        fn placed_orders_never_exceed_the_limit(
            pauses in proptest::collection::vec(0_i64..200, 1..400),
            limit in 2_u32..100,
        ) {
            let mut orders = NewOrders::new(Some(limit));
            let mut ca = TokenBucket::new(f64::from(limit) / PERIOD.as_secs_f64(), f64::from(limit));
            let mut waiting = std::collections::BinaryHeap::new();
            let mut now = 0;
            for pause in pauses {
                now += pause;
                let mut asking = vec![None];
                while let Some(std::cmp::Reverse(slot)) = waiting.pop() {
                    if slot > at(now) {
                        waiting.push(std::cmp::Reverse(slot));
                        break;
                    }
                    asking.push(Some(slot));
                }
                for held in asking {
                    match orders.slot(at(now), held) {
                        NewOrderSlot::Now => prop_assert_eq!(ca.take(elapsed(at(now))), Duration::ZERO),
                        NewOrderSlot::At(slot) => {
                            prop_assert!(slot > at(now));
                            waiting.push(std::cmp::Reverse(slot));
                        }
                    }
                }
            }
        }
    }
}
