//! How much may be asked of a CA, and when: a token bucket, and the new orders of an account. Knows no clock: who asks says what
//! time it is. Next: `acme/server/bucket.rs`, `accounts.rs`, and the simulation in `examples/`, which hold the values.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How long the CAs that are known count new orders.
const PERIOD: Duration = Duration::from_hours(3);

/// Who has a turn is not sent back for less.
const ROUNDING: Duration = Duration::from_millis(100);

/// What Let's Encrypt says in its refusal of an account that has ordered too often, and of no other limit.
const TOO_MANY: &str = "too many new orders";

/// Something that happens at a rate for long, and more often for a while after a rest.
///
/// Time is how long some moment is past that the caller has chosen, and never runs backwards.
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
    /// Tokens in a second.
    rate: f64,
    burst: f64,
    /// How many are left, below zero where some wait; and when that was so.
    level: f64,
    at: Duration,
}

impl TokenBucket {
    /// One that is full: `rate` tokens come in a second, and `burst` are kept.
    pub fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, level: burst, at: Duration::ZERO }
    }

    /// Takes a token. Returns how long whoever took it must wait.
    pub fn take(&mut self, now: Duration) -> Duration {
        self.level = self.level(now) - 1.0;
        self.at = self.at.max(now);
        self.until(0.0 - self.level)
    }

    /// How long there is none to be taken at once.
    pub fn wait(&self, now: Duration) -> Duration {
        self.until(1.0 - self.level(now))
    }

    /// How many are left, below zero where some wait.
    pub fn level(&self, now: Duration) -> f64 {
        (self.level + now.saturating_sub(self.at).as_secs_f64() * self.rate).min(self.burst)
    }

    /// Until so many have come.
    fn until(&self, missing: f64) -> Duration {
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(missing / self.rate).unwrap_or(Duration::MAX)
    }
}

/// How many new orders, which renew nothing, an account may place within three hours at the CA with this directory: as the
/// issuer's annotation says, else what the CA publishes; `None` where neither does.
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

/// What an annotation says, if it is a number above zero.
pub fn number_of_orders(annotation: &str) -> Option<u32> {
    annotation.trim().parse().ok().filter(|number| *number > 0)
}

/// Whether a CA's refusal of an order, by its detail, is about the account's new orders, not about the names of this one.
pub fn is_about_new_orders(detail: &str) -> bool {
    detail.contains(TOO_MANY)
}

/// When an order may be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At once: it has been counted.
    Now,
    /// Then it is to ask again; it has not been counted.
    At(Timestamp),
}

/// The new orders of one account.
///
/// They are counted when they are placed, not when they are given a turn: after an outage, hundreds have had theirs in vain.
#[derive(Clone, Copy, Debug)]
pub struct NewOrders {
    limit: Option<u32>,
    placed: TokenBucket,
    /// When the next one that can't be placed at once has its turn.
    next: Timestamp,
    /// Turns before it are void: the CA has said to wait.
    open: Timestamp,
}

impl NewOrders {
    /// None so far. `limit` is how many the CA allows in three hours; `None` if it does not say.
    ///
    /// Two in a hundred fewer are placed at once than the CA allows: orders arrive later than they are sent, and not all equally.
    pub fn new(limit: Option<u32>) -> Self {
        let allowed = limit.map_or(f64::INFINITY, f64::from);
        let burst = (allowed - (allowed / 50.0).ceil()).max(1.0);
        let placed = match limit {
            Some(_) => TokenBucket::new(allowed / PERIOD.as_secs_f64(), burst),
            None => TokenBucket::new(f64::MAX, f64::MAX),
        };
        Self { limit, placed, next: Timestamp::MIN, open: Timestamp::MIN }
    }

    /// The CA allows another number in three hours: what was placed before counts on.
    pub fn set_limit(&mut self, limit: Option<u32>) {
        if limit != self.limit {
            let TokenBucket { rate, burst, .. } = Self::new(limit).placed;
            self.placed =
                TokenBucket { rate, burst, level: self.placed.level.min(burst), at: self.placed.at };
            self.limit = limit;
        }
    }

    /// Whether an order may be placed, or else when it is to ask again: first come, first served. `held` is the turn that it
    /// was given before.
    pub fn turn(&mut self, now: Timestamp, held: Option<Timestamp>) -> Turn {
        let held = held.filter(|turn| *turn >= self.open);
        match held {
            Some(turn) if now < turn => Turn::At(turn),
            None if self.others_wait(now) => self.queue(now),
            _ if self.placed.wait(elapsed(now)) < ROUNDING => {
                self.placed.take(elapsed(now));
                Turn::Now
            }
            _ => self.queue(now),
        }
    }

    /// The CA has refused a new order, and says to place none until then.
    pub fn close(&mut self, until: Timestamp) {
        if until <= self.open {
            return;
        }
        self.open = until;
        self.next = until;
        if self.limit.is_some() {
            // It lets the first one through then.
            self.placed = TokenBucket { level: 1.0, at: elapsed(until), ..self.placed };
        }
    }

    /// Whether some were given turns that are yet to come, and do come: of those who don't, their tokens are left.
    fn others_wait(&self, now: Timestamp) -> bool {
        now < self.open || now < self.next && self.placed.level(elapsed(now)) < self.placed.burst / 10.0
    }

    fn queue(&mut self, now: Timestamp) -> Turn {
        let turn = self.next.max(later(now, self.placed.wait(elapsed(now))));
        self.next = later(turn, Duration::try_from_secs_f64(1.0 / self.placed.rate).unwrap_or_default());
        Turn::At(turn)
    }
}

fn elapsed(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many seconds after the beginning.
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    #[test]
    fn a_bucket_fills_up_to_its_burst() {
        let mut bucket = TokenBucket::new(1.0, 3.0);
        let hour = Duration::from_hours(1);
        let waits: Vec<_> = (0..5).map(|_| bucket.take(hour).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2]);
        assert_eq!(bucket.wait(hour), Duration::from_secs(3));
        assert_eq!(bucket.wait(hour + Duration::from_secs(3)), Duration::ZERO);
    }

    #[test]
    fn a_burst_is_placed_at_once_and_the_rest_in_the_order_of_asking() {
        let mut orders = NewOrders::new(Some(300));
        let turns: Vec<_> = (0..300).map(|_| orders.turn(at(0), None)).collect();
        assert!(turns[..294].iter().all(|turn| *turn == Turn::Now));
        let waiting: Vec<_> = (1..=6).map(|place| Turn::At(at(36 * place))).collect();
        assert_eq!(turns[294..], waiting);
        // Who has a turn keeps it, and nobody comes in between.
        assert_eq!(orders.turn(at(1), Some(at(36))), Turn::At(at(36)));
        assert_eq!(orders.turn(at(36), None), Turn::At(at(252)));
        assert_eq!(orders.turn(at(36), Some(at(36))), Turn::Now);
    }

    #[test]
    fn turns_that_nobody_came_for_hold_up_nobody() {
        let mut orders = NewOrders::new(Some(300));
        for _ in 0..1000 {
            orders.turn(at(0), None);
        }
        assert!(matches!(orders.turn(at(600), None), Turn::At(_)));
        assert_eq!(orders.turn(at(7200), None), Turn::Now);
    }

    #[test]
    fn those_who_all_come_late_are_not_placed_all_at_once() {
        let mut orders = NewOrders::new(Some(300));
        let turns: Vec<_> = (0..1294).map(|_| orders.turn(at(0), None)).collect();
        let day = at(24 * 3600);
        let late = turns[294..].iter().map(|turn| match turn {
            Turn::At(turn) => orders.turn(day, Some(*turn)),
            Turn::Now => Turn::Now,
        });
        assert_eq!(late.filter(|turn| *turn == Turn::Now).count(), 294);
    }

    #[test]
    fn a_refusal_closes_the_account_until_the_ca_says() {
        let mut orders = NewOrders::new(Some(300));
        assert_eq!(orders.turn(at(0), None), Turn::Now);
        orders.close(at(600));
        orders.close(at(500));
        assert_eq!(orders.turn(at(1), Some(at(1))), Turn::At(at(600)));
        assert_eq!(orders.turn(at(1), None), Turn::At(at(636)));
        assert_eq!(orders.turn(at(600), Some(at(600))), Turn::Now);
        assert_eq!(orders.turn(at(636), Some(at(636))), Turn::Now);
        assert_eq!(orders.turn(at(637), None), Turn::At(at(672)));
    }

    #[test]
    fn a_ca_that_publishes_nothing_is_waited_for_only_when_it_says_so() {
        let mut orders = NewOrders::new(None);
        assert!((0..10_000).all(|_| orders.turn(at(0), None) == Turn::Now));
        orders.close(at(60));
        assert_eq!(orders.turn(at(1), None), Turn::At(at(60)));
        assert_eq!(orders.turn(at(60), Some(at(60))), Turn::Now);
    }

    #[test]
    fn another_limit_holds_at_once_and_gives_nothing_back() {
        let mut orders = NewOrders::new(Some(300));
        assert!((0..294).all(|_| orders.turn(at(0), None) == Turn::Now));
        for limit in [Some(3000), Some(300)] {
            orders.set_limit(limit);
            assert!(matches!(orders.turn(at(1), None), Turn::At(_)), "{limit:?}");
        }
        orders.set_limit(Some(3000));
        assert_eq!(orders.turn(at(3600), None), Turn::Now);
    }

    #[test]
    fn only_the_accounts_own_limit_closes_it() {
        assert!(is_about_new_orders(
            "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-01-01 00:00:00 UTC"
        ));
        assert!(!is_about_new_orders(
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s"
        ));
    }

    proptest! {
        /// Whoever asks whenever: no three hours and no shorter time see more than the CA's bucket holds.
        #[test]
        fn what_is_placed_is_never_more_than_is_allowed(
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
                while let Some(std::cmp::Reverse(turn)) = waiting.pop() {
                    if turn > at(now) {
                        waiting.push(std::cmp::Reverse(turn));
                        break;
                    }
                    asking.push(Some(turn));
                }
                for held in asking {
                    match orders.turn(at(now), held) {
                        Turn::Now => prop_assert_eq!(ca.take(elapsed(at(now))), Duration::ZERO),
                        Turn::At(turn) => {
                            prop_assert!(turn > at(now));
                            waiting.push(std::cmp::Reverse(turn));
                        }
                    }
                }
            }
        }
    }
}
