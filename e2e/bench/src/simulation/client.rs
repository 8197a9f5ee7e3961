//! The operator's ACME client: the limits that the operator imposes on itself, with the code and the settings of `operator`.
//!
//! Knows requests and times; must not know certificates. Next: `authority.rs` for the CA's limits.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use operator::decision::{
    limits::TokenBucket,
    new_orders::{Asking, NewOrderSlot, NewOrders},
};

use crate::simulation::{
    authority::{Authority, Limit, Rejection, Request},
    figures::Requests,
    fleet::Id,
    scenario::Scenario,
    validity::{Validity, seconds, timestamp},
};

/// The number of nonces that the operator keeps.
const NONCES_KEPT: u32 = 64;

/// How often the operator tries to connect before it gives up.
const TRIES: u32 = 3;

/// How long the operator pauses between these tries in total.
const PAUSES: Duration = Duration::from_millis(300);

/// A request that failed, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) at: Duration,
    /// `None` if there was no response.
    pub(crate) rejection: Option<Rejection>,
}

/// The client of one account.
pub(crate) struct Client {
    scenario: Scenario,
    /// When the process started, since 1970. The time of the buckets counts from then.
    began: Duration,
    server_bucket: TokenBucket,
    account_bucket: TokenBucket,
    new_orders: NewOrders<Id>,
    nonces: u32,
    /// When each of the concurrent requests ends, in ascending order. One entry per permitted concurrent request.
    in_flight: VecDeque<Duration>,
}

impl Client {
    /// The client of a process that has just started, and so has no state.
    pub(crate) fn new(scenario: &Scenario, now: Duration) -> Self {
        let bucket = TokenBucket::new(scenario.requests_per_second, 2.0 * scenario.requests_per_second);
        Self {
            scenario: scenario.clone(),
            began: now,
            server_bucket: bucket,
            account_bucket: bucket,
            new_orders: NewOrders::new(scenario.new_orders),
            nonces: 0,
            in_flight: VecDeque::from(vec![now; scenario.concurrency]),
        }
    }

    /// The earliest time at which the next request may be sent.
    pub(crate) fn free_at(&self) -> Duration {
        self.in_flight.front().copied().unwrap_or_default()
    }

    /// Returns `None` if a new order may be placed now, otherwise its slot in seconds since 1970. `held` is the slot that it got before.
    pub(crate) fn new_order_slot(&mut self, id: Id, now: Duration, held: Option<u32>) -> Option<u32> {
        let asking = Asking { namespace: "", order: &id, held: held.map(timestamp) };
        match self.new_orders.slot(precise(now), &asking) {
            NewOrderSlot::Now => None,
            NewOrderSlot::At(slot) => u32::try_from(slot.as_second() + 1).ok(),
        }
    }

    /// Places an order. A new order needs a slot first.
    pub(crate) fn order(
        &mut self,
        id: Id,
        replaces: Option<Validity>,
        ready: Duration,
        authority: &mut Authority,
        requests: &mut Requests,
    ) -> Result<Duration, Failure> {
        let answered = self.post(Request::NewOrder, ready, authority, requests)?;
        let Err(rejection) = authority.order(id, replaces, answered) else { return Ok(answered) };
        if rejection.limit == Limit::NewOrders {
            self.new_orders.close(precise(answered + rejection.retry_after));
        }
        Err(Failure { at: answered, rejection: Some(rejection) })
    }

    /// Sends a request that is ready to be sent. Returns when the response arrives.
    pub(crate) fn post(
        &mut self,
        request: Request,
        ready: Duration,
        authority: &mut Authority,
        requests: &mut Requests,
    ) -> Result<Duration, Failure> {
        let sent = self.wait(ready);
        if self.scenario.ca_outage.contains(&sent) {
            self.nonces = self.nonces.saturating_sub(TRIES);
            let at = sent + self.scenario.latency * TRIES + PAUSES;
            self.hold_until(at);
            return Err(Failure { at, rejection: None });
        }
        let mut answered = sent;
        let mut outcome = Ok(());
        if self.nonces == 0 {
            outcome = authority.request(Request::NewNonce, answered, 1);
            requests.count(Request::NewNonce, answered, 1);
            answered += self.scenario.latency;
        }
        if outcome.is_ok() {
            self.nonces = self.nonces.saturating_sub(1);
            outcome = authority.request(request, answered, 1);
            requests.count(request, answered, 1);
            answered += self.scenario.latency;
            self.nonces = (self.nonces + 1).min(NONCES_KEPT);
        }
        self.hold_until(answered);
        outcome.map(|()| answered).map_err(|rejection| Failure { at: answered, rejection: Some(rejection) })
    }

    /// When a request may be sent. Waits like `operator::acme`: for the account's bucket, then for a concurrent request to end, then for the
    /// server's bucket.
    fn wait(&mut self, ready: Duration) -> Duration {
        let ready = ready + self.account_bucket.take(ready.saturating_sub(self.began));
        let ready = ready.max(self.in_flight.pop_front().unwrap_or_default());
        ready + self.server_bucket.take(ready.saturating_sub(self.began))
    }

    /// Marks a request as in flight until it ends.
    fn hold_until(&mut self, end: Duration) {
        let place = self.in_flight.partition_point(|other| *other <= end);
        self.in_flight.insert(place, end);
    }
}

fn precise(time: Duration) -> Timestamp {
    let nanoseconds = i32::try_from(time.subsec_nanos()).unwrap_or_default();
    Timestamp::new(i64::from(seconds(time)), nanoseconds).expect("a time before 2106")
}
