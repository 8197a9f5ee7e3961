//! The new-order slots of an account: when each waiting order may be placed, by turns among namespaces.
//!
//! Knows times and turns; must not read a clock, so callers pass the time in. Next: `limits.rs` for the token bucket, `accounts.rs`, which
//! stores the values, and the simulation.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use jiff::Timestamp;

use super::limits::{PERIOD, TokenBucket, later};

/// An order whose slot has come is placed even if its token is still missing by less than this.
const ROUNDING: Duration = Duration::from_millis(100);

/// How long after its slot an order that has not asked again counts as abandoned. If it asks after all, it is the first of its namespace.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);

/// Whether an order may be placed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewOrderSlot {
    /// It may, and has been counted.
    Now,
    /// It has a slot at this time, and asks again then. It has not been counted.
    At(Timestamp),
}

/// An order that asks for a slot.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a, I> {
    /// The namespace, which is the tenant.
    pub namespace: &'a str,
    /// Which order.
    pub order: &'a I,
    /// The slot that it got before.
    pub held: Option<Timestamp>,
}

/// The new orders of one account.
///
/// An order is counted when it is placed, not when it gets a slot: after an outage, the slots of hundreds have passed unused. Waiting
/// orders are placed by turns among namespaces, in each of them first come, first served. A slot is what this order gives now; an order
/// that finds others ahead of it then gets a later one.
#[derive(Debug)]
pub struct NewOrders<I> {
    limit: Option<u32>,
    placed: TokenBucket,
    waiting: Line<I>,
    /// Slots before this time are void, because the CA has said to wait until then.
    open: Timestamp,
}

impl<I: Clone + Eq + Hash> NewOrders<I> {
    /// An account without orders. `limit` is the number of orders that the CA allows in 3 hours; `None` if it does not publish one.
    ///
    /// The burst is 2% smaller than the limit, because orders reach the CA with varying delays.
    pub fn new(limit: Option<u32>) -> Self {
        Self { limit, placed: bucket(limit), waiting: Line::default(), open: Timestamp::MIN }
    }

    /// Changes the number of orders that the CA allows in 3 hours. Orders placed before still count.
    pub fn set_limit(&mut self, limit: Option<u32>) {
        if limit != self.limit {
            let new = bucket(limit);
            self.placed = TokenBucket { level: self.placed.level.min(new.burst), at: self.placed.at, ..new };
            self.limit = limit;
        }
    }

    /// Places an order if it may be placed now, otherwise returns its slot.
    pub fn slot(&mut self, now: Timestamp, asking: &Asking<'_, I>) -> NewOrderSlot {
        if let Some(held) = asking.held.filter(|held| now < *held && self.open <= *held) {
            return NewOrderSlot::At(held);
        }
        self.waiting.drop_abandoned(now);
        let ahead = self.waiting.ahead_of(asking);
        let tokens = self.placed.level(elapsed(later(now, ROUNDING)));
        // Many tokens that are left over mean that the slots of those ahead were abandoned.
        let is_abandoned = tokens >= (self.placed.burst / 10.0).max(2.0);
        if self.open <= now && (tokens >= ahead + 1.0 || is_abandoned) {
            self.waiting.serve(asking);
            self.placed.take(elapsed(now));
            return NewOrderSlot::Now;
        }
        let from = now.max(self.open);
        let missing = ahead + 1.0 - self.placed.level(elapsed(from));
        let slot = later(from, self.placed.until(missing));
        self.waiting.set_slot(asking, slot);
        NewOrderSlot::At(slot)
    }

    /// Closes the account, because the CA has rejected a new order and said to place none until then.
    pub fn close(&mut self, until: Timestamp) {
        if until <= self.open {
            return;
        }
        self.open = until;
        if self.limit.is_some() {
            // The CA lets one order through then.
            self.placed = TokenBucket { level: 1.0, at: elapsed(until), ..self.placed };
        }
    }

    /// How many orders wait for a slot.
    pub fn waiting(&mut self, now: Timestamp) -> usize {
        self.waiting.drop_abandoned(now);
        self.waiting.namespaces.values().map(|queue| queue.orders.len()).sum()
    }

    /// Whether nothing has to be remembered: the account is as if it had placed no order, and none waits.
    pub fn is_idle(&mut self, now: Timestamp) -> bool {
        self.waiting.drop_abandoned(now);
        let has_all_tokens = self.placed.level(elapsed(now)) >= self.placed.burst;
        self.open <= now && self.waiting.turns.is_empty() && has_all_tokens
    }
}

/// The orders that wait.
#[derive(Debug)]
struct Line<I> {
    namespaces: HashMap<String, Queue<I>>,
    /// The namespaces in which an order waits, the next one first.
    turns: VecDeque<String>,
}

/// The orders that wait in a namespace, by place.
#[derive(Debug)]
struct Queue<I> {
    orders: BTreeMap<i64, (I, Timestamp)>,
    places: HashMap<I, i64>,
}

impl<I> Default for Line<I> {
    fn default() -> Self {
        Self { namespaces: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<I> Default for Queue<I> {
    fn default() -> Self {
        Self { orders: BTreeMap::new(), places: HashMap::new() }
    }
}

impl<I: Clone + Eq + Hash> Line<I> {
    /// How many orders come before this one, if all take their turns. It joins the line if it is not in it.
    fn ahead_of(&mut self, asking: &Asking<'_, I>) -> f64 {
        if !self.namespaces.contains_key(asking.namespace) {
            self.turns.push_back(asking.namespace.to_owned());
        }
        let queue = self.namespaces.entry(asking.namespace.to_owned()).or_default();
        let place = queue.join(asking);
        let mut ahead = place;
        let mut has_had_turn = true;
        for namespace in &self.turns {
            if namespace == asking.namespace {
                has_had_turn = false;
            } else if let Some(other) = self.namespaces.get(namespace) {
                ahead += other.orders.len().min(place + usize::from(has_had_turn));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^52 orders")]
        let ahead = ahead as f64;
        ahead
    }

    /// Takes an order out of the line: it is placed, which was the turn of its namespace.
    fn serve(&mut self, asking: &Asking<'_, I>) {
        let Some(queue) = self.namespaces.get_mut(asking.namespace) else { return };
        if let Some(place) = queue.places.remove(asking.order) {
            queue.orders.remove(&place);
        }
        self.turns.retain(|namespace| namespace != asking.namespace);
        if queue.orders.is_empty() {
            self.namespaces.remove(asking.namespace);
        } else {
            self.turns.push_back(asking.namespace.to_owned());
        }
    }

    fn set_slot(&mut self, asking: &Asking<'_, I>, slot: Timestamp) {
        let Some(queue) = self.namespaces.get_mut(asking.namespace) else { return };
        let place = queue.places.get(asking.order);
        if let Some((_, old)) = place.and_then(|place| queue.orders.get_mut(place)) {
            *old = slot;
        }
    }

    fn drop_abandoned(&mut self, now: Timestamp) {
        self.namespaces.retain(|_, queue| {
            while let Some(first) = queue.orders.first_entry()
                && later(first.get().1, ABANDONED_AFTER) < now
            {
                queue.places.remove(&first.remove().0);
            }
            !queue.orders.is_empty()
        });
        self.turns.retain(|namespace| self.namespaces.contains_key(namespace));
    }
}

impl<I: Clone + Eq + Hash> Queue<I> {
    /// How many orders of the namespace come before this one.
    fn join(&mut self, asking: &Asking<'_, I>) -> usize {
        let first = self.orders.first_key_value().map(|(place, _)| *place);
        let place = self.places.get(asking.order).copied().unwrap_or_else(|| {
            let place = if asking.held.is_some() {
                // Its slot has passed, so it is ahead of those whose slots have not.
                first.map_or(0, |first| first.saturating_sub(1))
            } else {
                self.orders.last_key_value().map_or(0, |(last, _)| last.saturating_add(1))
            };
            self.places.insert(asking.order.clone(), place);
            self.orders.insert(place, (asking.order.clone(), Timestamp::MAX));
            place
        });
        // Places of orders that have left count, so an estimate may be late, but never early.
        usize::try_from(place.saturating_sub(first.unwrap_or(place))).unwrap_or_default()
    }
}

fn bucket(limit: Option<u32>) -> TokenBucket {
    let Some(limit) = limit else { return TokenBucket::new(f64::MAX, f64::MAX) };
    let allowed = f64::from(limit);
    let burst = (allowed - (allowed / 50.0).ceil()).max(1.0);
    TokenBucket::new(allowed / PERIOD.as_secs_f64(), burst)
}

fn elapsed(time: Timestamp) -> Duration {
    Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap};

    use proptest::prelude::*;

    use super::*;

    /// This many seconds after an arbitrary start.
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
    }

    /// The order with a number in the only namespace asks.
    fn ask(orders: &mut NewOrders<u32>, now: Timestamp, order: u32, held: Option<Timestamp>) -> NewOrderSlot {
        orders.slot(now, &Asking { namespace: "default", order: &order, held })
    }

    fn slot(slot: NewOrderSlot) -> Timestamp {
        match slot {
            NewOrderSlot::At(slot) => slot,
            NewOrderSlot::Now => panic!("placed"),
        }
    }

    #[test]
    fn orders_beyond_the_burst_get_slots_in_order() {
        let mut orders = NewOrders::new(Some(300));
        let slots: Vec<_> = (0..300).map(|order| ask(&mut orders, at(0), order, None)).collect();
        assert!(slots[..294].iter().all(|slot| *slot == NewOrderSlot::Now));
        let waiting: Vec<_> = (1..=6).map(|place| NewOrderSlot::At(at(36 * place))).collect();
        assert_eq!(slots[294..], waiting);
        // An order keeps its slot, and no later order gets ahead of it.
        assert_eq!(ask(&mut orders, at(1), 294, Some(at(36))), NewOrderSlot::At(at(36)));
        assert_eq!(ask(&mut orders, at(36), 300, None), NewOrderSlot::At(at(252)));
        assert_eq!(ask(&mut orders, at(36), 294, Some(at(36))), NewOrderSlot::Now);
    }

    #[test]
    fn abandoned_slots_delay_no_other_order() {
        let mut orders = NewOrders::new(Some(300));
        for order in 0..1000 {
            ask(&mut orders, at(0), order, None);
        }
        assert!(matches!(ask(&mut orders, at(600), 1000, None), NewOrderSlot::At(_)));
        assert_eq!(ask(&mut orders, at(7200), 1001, None), NewOrderSlot::Now);
    }

    #[test]
    fn late_orders_are_not_all_placed_together() {
        let mut orders = NewOrders::new(Some(300));
        let slots: Vec<_> = (0..1294).map(|order| (order, ask(&mut orders, at(0), order, None))).collect();
        let day = at(24 * 3600);
        let late = slots[294..].iter().map(|(order, held)| ask(&mut orders, day, *order, Some(slot(*held))));
        assert_eq!(late.filter(|slot| *slot == NewOrderSlot::Now).count(), 294);
    }

    #[test]
    fn rejection_closes_the_account_for_the_given_time() {
        let mut orders = NewOrders::new(Some(300));
        assert_eq!(ask(&mut orders, at(0), 0, None), NewOrderSlot::Now);
        orders.close(at(600));
        orders.close(at(500));
        assert_eq!(ask(&mut orders, at(1), 1, Some(at(1))), NewOrderSlot::At(at(600)));
        assert_eq!(ask(&mut orders, at(1), 2, None), NewOrderSlot::At(at(636)));
        assert_eq!(ask(&mut orders, at(600), 1, Some(at(600))), NewOrderSlot::Now);
        assert_eq!(ask(&mut orders, at(636), 2, Some(at(636))), NewOrderSlot::Now);
        assert_eq!(ask(&mut orders, at(637), 3, None), NewOrderSlot::At(at(672)));
    }

    #[test]
    fn unlimited_account_waits_only_while_closed() {
        let mut orders = NewOrders::new(None);
        assert!((0..10_000).all(|order| ask(&mut orders, at(0), order, None) == NewOrderSlot::Now));
        orders.close(at(60));
        assert_eq!(ask(&mut orders, at(1), 10_000, None), NewOrderSlot::At(at(60)));
        assert_eq!(ask(&mut orders, at(60), 10_000, Some(at(60))), NewOrderSlot::Now);
    }

    #[test]
    fn new_limit_keeps_earlier_orders_counted() {
        let mut orders = NewOrders::new(Some(300));
        assert!((0..294).all(|order| ask(&mut orders, at(0), order, None) == NewOrderSlot::Now));
        for limit in [Some(3000), Some(300)] {
            orders.set_limit(limit);
            assert!(matches!(ask(&mut orders, at(1), 294, None), NewOrderSlot::At(_)), "{limit:?}");
        }
        orders.set_limit(Some(3000));
        assert_eq!(ask(&mut orders, at(3600), 294, None), NewOrderSlot::Now);
    }

    /// What waits, by the time at which it asks again.
    type Asleep = BinaryHeap<Reverse<(Timestamp, u32, &'static str)>>;

    /// Lets orders ask at their slots until a time. Returns those that were placed, with the seconds at which they were.
    fn run(orders: &mut NewOrders<u32>, asleep: &mut Asleep, until: i64) -> Vec<(i64, u32, &'static str)> {
        let mut placed = Vec::new();
        while let Some(Reverse((now, order, namespace))) = asleep.pop() {
            if now > at(until) {
                asleep.push(Reverse((now, order, namespace)));
                break;
            }
            match orders.slot(now, &Asking { namespace, order: &order, held: Some(now) }) {
                NewOrderSlot::Now => placed.push((now.as_second() - at(0).as_second(), order, namespace)),
                NewOrderSlot::At(slot) => asleep.push(Reverse((slot, order, namespace))),
            }
        }
        placed
    }

    /// Asks for the first time.
    fn join(orders: &mut NewOrders<u32>, asleep: &mut Asleep, now: i64, order: u32, namespace: &'static str) {
        match orders.slot(at(now), &Asking { namespace, order: &order, held: None }) {
            NewOrderSlot::Now => {}
            NewOrderSlot::At(slot) => asleep.push(Reverse((slot, order, namespace))),
        }
    }

    #[test]
    fn thousands_of_orders_of_one_tenant_delay_no_other() {
        let (mut orders, mut asleep) = (NewOrders::new(Some(300)), Asleep::new());
        (0..3294).for_each(|order| join(&mut orders, &mut asleep, 0, order, "junk"));
        assert_eq!(asleep.len(), 3000, "30 hours");
        let placed = run(&mut orders, &mut asleep, 100);
        assert_eq!(placed.len(), 2);
        for (number, namespace) in (4000..).zip(["a", "b"]) {
            join(&mut orders, &mut asleep, 100, number, namespace);
        }
        let next: Vec<_> = run(&mut orders, &mut asleep, 220).into_iter().map(|(_, _, of)| of).collect();
        assert_eq!(next, ["junk", "a", "b", "junk"]);
        // No slot is lost, and the junk keeps its order.
        let rest = run(&mut orders, &mut asleep, 36 * 3002 + 60);
        assert!(asleep.is_empty(), "{}", asleep.len());
        assert!(rest.is_sorted_by_key(|(_, order, _)| *order));
    }

    /// The orders of a deleted namespace never ask again.
    #[test]
    fn orders_that_never_ask_again_delay_no_other() {
        let (mut orders, mut asleep) = (NewOrders::new(Some(300)), Asleep::new());
        (0..3294).for_each(|order| join(&mut orders, &mut asleep, 0, order, "deleted"));
        asleep.clear();
        (4000..4010).for_each(|order| join(&mut orders, &mut asleep, 0, order, "other"));
        let placed = run(&mut orders, &mut asleep, 36 * 21);
        assert_eq!(placed.len(), 10);
    }

    proptest! {
        /// Whenever orders ask, the CA's own bucket has a token for each that is placed.
        #[test]
        fn placed_orders_never_exceed_the_limit(
            pauses in proptest::collection::vec((0_i64..200, 0_usize..3), 1..400),
            limit in 2_u32..100,
        ) {
            let mut orders = NewOrders::new(Some(limit));
            let mut ca = TokenBucket::new(f64::from(limit) / PERIOD.as_secs_f64(), f64::from(limit));
            let mut waiting = BinaryHeap::new();
            let mut now = 0;
            for (number, (pause, namespace)) in (0_u32..).zip(pauses) {
                now += pause;
                let mut asking = vec![(None, number, ["a", "b", "c"][namespace])];
                while let Some(Reverse((slot, order, namespace))) = waiting.pop() {
                    if slot > at(now) {
                        waiting.push(Reverse((slot, order, namespace)));
                        break;
                    }
                    asking.push((Some(slot), order, namespace));
                }
                for (held, order, namespace) in asking {
                    match orders.slot(at(now), &Asking { namespace, order: &order, held }) {
                        NewOrderSlot::Now => prop_assert_eq!(ca.take(elapsed(at(now))), Duration::ZERO),
                        NewOrderSlot::At(slot) => {
                            prop_assert!(slot > at(now));
                            waiting.push(Reverse((slot, order, namespace)));
                        }
                    }
                }
            }
        }

        /// Among namespaces with waiting orders, none gets more than one slot more than another, and every slot is used.
        #[test]
        fn slots_are_shared_evenly(counts in proptest::collection::vec(1_u32..40, 3)) {
            let (mut orders, mut asleep) = (NewOrders::new(Some(300)), Asleep::new());
            (0..294).for_each(|order| join(&mut orders, &mut asleep, 0, order, "first"));
            let mut number = 1000;
            for (count, namespace) in counts.iter().zip(["a", "b", "c"]) {
                for _ in 0..*count {
                    number += 1;
                    join(&mut orders, &mut asleep, 0, number, namespace);
                }
            }
            let all: u32 = counts.iter().sum();
            let placed = run(&mut orders, &mut asleep, 36 * i64::from(all) + 30);
            prop_assert_eq!(placed.len(), all as usize);
            let least = counts.iter().min().map_or(0, |least| *least as usize);
            for (place, (_, _, namespace)) in placed.iter().enumerate().take(3 * least) {
                let before = placed[..place].iter().filter(|(_, _, other)| other == namespace).count();
                prop_assert_eq!(before, place / 3);
            }
        }
    }
}
