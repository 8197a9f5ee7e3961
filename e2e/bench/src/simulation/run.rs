//! The simulation: rounds of a minute, in which due issuances go through the operator's queues step by step.
//!
//! As in the operator, an issuance goes to the end of its controller's queue between two reconciles: Orders place, finalize, and
//! download, Challenges accept and check. Both controllers share the limit on concurrent requests to the CA. A reconcile that has
//! started has precedence over one that has not. No issuance has priority over another.
//!
//! Knows queues and steps; must not know limits. Next: `client.rs` for the operator's limits, `authority.rs` for the CA's.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use operator::decision::backoff::{IssuanceBackoff, after_error, fraction};

use crate::simulation::{
    authority::{Authority, Request},
    client::{Client, Failure},
    figures::{Figures, Outage},
    fleet::{self, Certificate, Id, Step, Uid, validates},
    polls::Polls,
    scenario::Scenario,
    validity::{Validity, renewal_share, seconds, timestamp},
    wheel::{Entry, MINUTE, Wheel},
};

/// How long it takes until a challenge is served and self-checked, and then until the CA has validated it.
const CHALLENGE_PAUSE: Duration = Duration::from_secs(1);

/// How long it takes until an Order is enqueued, and then until the CA has issued.
const ORDER_PAUSE: Duration = Duration::from_millis(250);

pub(crate) struct Simulation {
    pub(crate) scenario: Scenario,
    pub(crate) figures: Figures,
    pub(crate) authority: Authority,
    pub(crate) polls: Polls,
    pub(crate) fleet: Vec<Certificate>,
    client: Client,
    wheel: Wheel,
    /// Issuances whose timer has fired: they are due, have their new-order slot, or retry a step.
    due: VecDeque<Entry>,
    /// Orders after their first step.
    orders: VecDeque<Entry>,
    challenges: VecDeque<Entry>,
    /// Reconciles that have started and make another request.
    started: VecDeque<Entry>,
    /// Whether a Challenge is next if both a Challenge and an Order are ready.
    challenge_next: bool,
}

impl Simulation {
    /// The state at the beginning of a scenario.
    pub(crate) fn new(scenario: Scenario) -> Self {
        let outage = |name, range: &std::ops::Range<Duration>| Outage {
            name,
            end: range.end,
            length: range.end.saturating_sub(range.start),
            longest_backlog: 0,
            cleared: None,
        };
        let outages = [outage("CA", &scenario.ca_outage), outage("operator", &scenario.operator_outage)];
        let mut it = Self {
            figures: Figures::new(outages),
            authority: Authority::new(scenario.certificates),
            polls: Polls::new(&scenario),
            fleet: Vec::new(),
            client: Client::new(&scenario, scenario.begin),
            wheel: Wheel::new(scenario.begin, scenario.minutes()),
            due: VecDeque::new(),
            orders: VecDeque::new(),
            challenges: VecDeque::new(),
            started: VecDeque::new(),
            challenge_next: false,
            scenario,
        };
        for (id, (certificate, due)) in (0..).zip(fleet::existing(&it.scenario)) {
            it.fleet.push(certificate);
            it.wheel.put(Entry { at: due, id });
            if let Some(validity) = certificate.validity {
                it.polls.add(id, validity, it.scenario.begin);
            }
        }
        it
    }

    /// Simulates all minutes.
    pub(crate) fn run(mut self) -> Self {
        let mut now = self.scenario.begin;
        while now < self.scenario.end {
            self.minute(now);
            now += MINUTE;
        }
        self.count_expired();
        self
    }

    fn minute(&mut self, now: Duration) {
        for _ in 0..self.scenario.arrivals(now) {
            let id = self.next_id();
            self.fleet.push(Certificate::new(id));
            self.wheel.put(Entry { at: now, id });
        }
        let fired = self.wheel.take();
        for entry in &fired {
            self.mark_due(*entry);
        }
        self.due.extend(fired);
        let up = !self.scenario.operator_outage.contains(&now);
        self.polls.minute(now, up, &mut self.authority, &mut self.figures.requests);
        if !up {
            return;
        }
        if now == self.scenario.operator_outage.end {
            self.restart(now);
        }
        while let Some(Entry { at, id }) = self.next(now + MINUTE) {
            self.step(id, at);
        }
        self.observe_outages(now);
    }

    fn next_id(&self) -> Id {
        Id::try_from(self.fleet.len()).expect("a fleet has a few million certificates")
    }

    fn certificate(&mut self, id: Id) -> &mut Certificate {
        &mut self.fleet[usize::try_from(id).expect("an id is an index")]
    }

    /// Marks a certificate as due for issuance, unless its issuance is already in progress.
    fn mark_due(&mut self, entry: Entry) {
        let certificate = self.certificate(entry.id);
        if certificate.due.is_none() {
            certificate.due = Some(seconds(entry.at));
            let renews = certificate.renews;
            self.figures.queue(renews).enter(entry.at);
        }
    }

    /// Restarts the operator: only what is stored in objects is left, and they are listed in random order.
    fn restart(&mut self, now: Duration) {
        self.client = Client::new(&self.scenario, now);
        for certificate in &mut self.fleet {
            certificate.slot = None;
            certificate.errors = 0;
        }
        let seed = self.scenario.seed;
        let order = |entry: &Entry| fraction("heard", &[seed, i64::from(entry.id)]).to_bits();
        self.due.make_contiguous().sort_unstable_by_key(order);
        for entry in &mut self.due {
            entry.at = now;
        }
    }

    /// Takes the issuance that makes the next request before `end`. Returns it with the time of the request.
    fn next(&mut self, end: Duration) -> Option<Entry> {
        let at = |queue: &VecDeque<Entry>| queue.front().map_or(Duration::MAX, |entry| entry.at);
        let (due, order) = (at(&self.due), at(&self.orders));
        let (challenge, started) = (at(&self.challenges), at(&self.started));
        let first_order = due.min(order);
        let now = self.client.free_at().max(first_order.min(challenge).min(started));
        if now >= end {
            return None;
        }
        let queue = if started <= now {
            &mut self.started
        } else if challenge <= now && (self.challenge_next || now < first_order) {
            self.challenge_next = false;
            &mut self.challenges
        } else {
            self.challenge_next = true;
            if due <= order { &mut self.due } else { &mut self.orders }
        };
        queue.pop_front().map(|entry| Entry { at: now, id: entry.id })
    }

    /// Executes the next step of an issuance.
    fn step(&mut self, id: Id, now: Duration) {
        let outcome = match self.certificate(id).step {
            Step::Place => self.place(id, now),
            Step::Read => self.post(Request::Authorization, now).map(|at| self.advance(id, Step::Accept, at)),
            Step::Accept => self.accept(id, now),
            Step::Check => self.check(id, now),
            Step::Finalize => self.finalize(id, now),
            Step::Poll => self.post(Request::Order, now).map(|at| self.advance(id, Step::Download, at)),
            Step::Download => self.post(Request::Certificate, now).map(|at| self.finish(id, at)),
        };
        match outcome {
            Ok(()) => self.certificate(id).errors = 0,
            Err(failure) => self.retry(id, failure),
        }
    }

    fn post(&mut self, request: Request, now: Duration) -> Result<Duration, Failure> {
        self.client.post(request, now, &mut self.authority, &mut self.figures.requests)
    }

    /// Enqueues the next step of an issuance, at the end of the queue of its controller.
    fn advance(&mut self, id: Id, step: Step, at: Duration) {
        self.certificate(id).step = step;
        let (queue, pause) = match step {
            Step::Read | Step::Download => (&mut self.started, Duration::ZERO),
            Step::Accept | Step::Check => (&mut self.challenges, CHALLENGE_PAUSE),
            Step::Place | Step::Finalize | Step::Poll => (&mut self.orders, ORDER_PAUSE),
        };
        queue.push_back(Entry { at: at + pause, id });
    }

    fn place(&mut self, id: Id, now: Duration) -> Result<(), Failure> {
        let Certificate { renews, validity, slot, .. } = *self.certificate(id);
        if !renews {
            let slot = self.client.new_order_slot(id, now, slot);
            self.certificate(id).slot = slot;
            if let Some(slot) = slot {
                self.wheel.put(Entry { at: Duration::from_secs(slot.into()), id });
                return Ok(());
            }
        }
        let replaces = validity.filter(|_| fleet::uses_ari(id));
        let placed = self.client.order(id, replaces, now, &mut self.authority, &mut self.figures.requests)?;
        self.certificate(id).ordered = seconds(placed);
        self.advance(id, Step::Read, placed);
        Ok(())
    }

    fn accept(&mut self, id: Id, now: Duration) -> Result<(), Failure> {
        let at = self.post(Request::Challenge, now)?;
        if !Authority::is_pending(self.certificate(id).ordered, at) {
            self.expire_order(id, at);
            return Ok(());
        }
        if !validates(id) {
            self.authority.fail(id, at);
        }
        self.advance(id, Step::Check, at);
        Ok(())
    }

    fn check(&mut self, id: Id, now: Duration) -> Result<(), Failure> {
        let at = self.post(Request::Authorization, now)?;
        if validates(id) {
            self.advance(id, Step::Finalize, at);
        } else {
            let profile = self.certificate(id).profile;
            self.figures.outcomes_mut(profile).failed += 1;
            self.fail(id, at);
        }
        Ok(())
    }

    fn finalize(&mut self, id: Id, now: Duration) -> Result<(), Failure> {
        let at = self.post(Request::Finalize, now)?;
        if Authority::is_open(self.certificate(id).ordered, at) {
            self.advance(id, Step::Poll, at);
        } else {
            self.expire_order(id, at);
        }
        Ok(())
    }

    /// Fails an issuance whose order or authorization has expired.
    fn expire_order(&mut self, id: Id, now: Duration) {
        let profile = self.certificate(id).profile;
        self.figures.outcomes_mut(profile).expired_orders += 1;
        self.fail(id, now);
    }

    /// Completes an issuance.
    fn finish(&mut self, id: Id, at: Duration) {
        let Certificate { profile, validity: old, renews, due, ordered, .. } = *self.certificate(id);
        let validity = self.authority.issue(id, profile, at);
        if let Some(old) = old {
            self.count_renewal(id, old, at);
        } else {
            self.polls.add(id, validity, at);
        }
        let queue = self.figures.queue(renews);
        queue.leave();
        queue.waited(at.saturating_sub(Duration::from_secs(due.unwrap_or_default().into())));
        let outcomes = self.figures.outcomes_mut(profile);
        outcomes.issued += 1;
        outcomes.longest_order =
            outcomes.longest_order.max(at.saturating_sub(Duration::from_secs(ordered.into())));
        *self.certificate(id) =
            Certificate { validity: Some(validity), profile, renews: true, ..Certificate::new(id) };
        self.wheel.put(Entry { at: fleet::renewal(id, validity), id });
    }

    /// Fails an issuance. The operator's decisions choose the time of the next attempt.
    fn fail(&mut self, id: Id, now: Duration) {
        let certificate = self.certificate(id);
        certificate.failures = certificate.failures.saturating_add(1);
        certificate.step = Step::Place;
        certificate.due = None;
        let (renews, failures) = (certificate.renews, certificate.failures);
        self.figures.queue(renews).leave();
        let next = IssuanceBackoff::default().next_attempt(timestamp(seconds(now)), failures.into());
        let at = next.duration_since(Timestamp::UNIX_EPOCH).max(SignedDuration::ZERO).unsigned_abs();
        self.wheel.put(Entry { at, id });
    }

    /// Retries a step after an outage of the CA or a rejection.
    fn retry(&mut self, id: Id, failure: Failure) {
        let wait = if let Some(rejection) = failure.rejection {
            rejection.retry_after
        } else {
            self.figures.unanswered += 1;
            after_error(self.certificate(id).errors.into(), Uid::of(id).as_str())
        };
        let certificate = self.certificate(id);
        certificate.errors = certificate.errors.saturating_add(1);
        self.wheel.put(Entry { at: failure.at + wait, id });
    }

    fn count_renewal(&mut self, id: Id, old: Validity, now: Duration) {
        let profile = self.certificate(id).profile;
        let left = Duration::from_secs(old.not_after.into()).saturating_sub(now);
        let outcomes = self.figures.outcomes_mut(profile);
        outcomes.expired += u64::from(left.is_zero());
        outcomes.least_left = outcomes.least_left.min(left.div_duration_f64(profile.lifetime()));
    }

    /// Counts the certificates that have expired and were not renewed by the end.
    fn count_expired(&mut self) {
        let end = seconds(self.scenario.end);
        for certificate in &self.fleet {
            if certificate.validity.is_some_and(|validity| validity.not_after < end) {
                self.figures.outcomes_mut(certificate.profile).expired += 1;
            }
        }
    }

    fn observe_outages(&mut self, now: Duration) {
        // Half of the fleet has each lifetime, and renews after a share of it.
        let usual: f64 = fleet::Profile::ALL
            .iter()
            .map(|profile| profile.lifetime())
            .map(|lifetime| MINUTE.div_duration_f64(lifetime) / renewal_share(lifetime))
            .map(|share| share * f64::from(self.next_id()) / 2.0)
            .sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred")]
        let usual = usual.ceil() as u32;
        let waiting = self.figures.renewals.length;
        for outage in &mut self.figures.outages {
            outage.observe(now, waiting, usual);
        }
    }

    /// The limits that rejected requests, and how many.
    pub(crate) fn rejections(&self) -> Vec<(&'static str, u64)> {
        self.authority.rejected().filter(|(_, times)| *times > 0).collect()
    }
}
