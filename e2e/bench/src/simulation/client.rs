//! The operator's side of the wire: the limits that it keeps to of its own accord, as `operator::acme` does, with their code and
//! their settings.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use operator::decision::limits::{NewOrderSlot, NewOrders, TokenBucket};

use crate::simulation::{
    authority::{Authority, Limit, Refusal, Request},
    figures::Requests,
    fleet::Id,
    scenario::Scenario,
    validity::{Validity, seconds, timestamp},
};

/// How many nonces the operator keeps.
const NONCES_KEPT: u32 = 64;

/// How often it tries to connect before it gives up, and how long it pauses between in all.
const TRIES: u32 = 3;
const PAUSES: Duration = Duration::from_millis(300);

/// Why a request came to nothing, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) at: Duration,
    /// `None` if there was no answer.
    pub(crate) refusal: Option<Refusal>,
}

/// One account's client.
pub(crate) struct Client {
    scenario: Scenario,
    /// When it began: the buckets' time counts from then.
    began: Duration,
    server_bucket: TokenBucket,
    account_bucket: TokenBucket,
    new_orders: NewOrders,
    nonces: u32,
    /// When each of the requests that may be under way at once is over, the first one first.
    under_way: VecDeque<Duration>,
}

impl Client {
    /// One that remembers nothing: of a process that has just begun.
    pub(crate) fn new(scenario: &Scenario, now: Duration) -> Self {
        let bucket = TokenBucket::new(scenario.requests_per_second, 2.0 * scenario.requests_per_second);
        Self {
            scenario: scenario.clone(),
            began: now,
            server_bucket: bucket,
            account_bucket: bucket,
            new_orders: NewOrders::new(scenario.new_orders),
            nonces: 0,
            under_way: VecDeque::from(vec![now; scenario.concurrency]),
        }
    }

    /// When the next request may be made at the earliest.
    pub(crate) fn free_at(&self) -> Duration {
        self.under_way.front().copied().unwrap_or_default()
    }

    /// Whether a new order may be placed, and otherwise when it is to ask again, in seconds since 1970. `held` is the turn that it
    /// was given before.
    pub(crate) fn turn(&mut self, now: Duration, held: Option<u32>) -> Option<u32> {
        match self.new_orders.slot(precise(now), held.map(timestamp)) {
            NewOrderSlot::Now => None,
            NewOrderSlot::At(turn) => u32::try_from(turn.as_second() + 1).ok(),
        }
    }

    /// Places an order, once `turn` lets it.
    pub(crate) fn order(
        &mut self,
        id: Id,
        replaces: Option<Validity>,
        ready: Duration,
        authority: &mut Authority,
        requests: &mut Requests,
    ) -> Result<Duration, Failure> {
        let answered = self.post(Request::NewOrder, ready, authority, requests)?;
        let Err(refusal) = authority.order(id, replaces, answered) else { return Ok(answered) };
        if refusal.limit == Limit::NewOrders {
            self.new_orders.close(precise(answered + refusal.retry_after));
        }
        Err(Failure { at: answered, refusal: Some(refusal) })
    }

    /// Makes a request that is ready to be made. Returns when it is answered.
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
            return Err(Failure { at, refusal: None });
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
        outcome.map(|()| answered).map_err(|refusal| Failure { at: answered, refusal: Some(refusal) })
    }

    /// Until a request may be made, as `Server::turn` has it: the account's bucket, one of a few places, the server's bucket.
    fn wait(&mut self, ready: Duration) -> Duration {
        let ready = ready + self.account_bucket.take(ready.saturating_sub(self.began));
        let ready = ready.max(self.under_way.pop_front().unwrap_or_default());
        ready + self.server_bucket.take(ready.saturating_sub(self.began))
    }

    /// Takes one of the places of requests that are under way.
    fn hold_until(&mut self, over: Duration) {
        let place = self.under_way.partition_point(|other| *other <= over);
        self.under_way.insert(place, over);
    }
}

fn precise(time: Duration) -> Timestamp {
    let nanoseconds = i32::try_from(time.subsec_nanos()).unwrap_or_default();
    Timestamp::new(i64::from(seconds(time)), nanoseconds).expect("a time before 2106")
}
