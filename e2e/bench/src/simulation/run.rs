//! The simulation: rounds of a minute, in which what is due goes through the operator's queues, step by step.
//!
//! As in the operator, an issuance goes to the end of its controller's queue between two reconciles: Orders place, finalize and
//! collect, Challenges accept and check. Both wait for the same few places at the CA; a reconcile that is under way comes before
//! one that is not. Nothing is more urgent than anything else.

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

/// How long a challenge takes to be served and checked, and the CA to validate it.
const CHALLENGE_PAUSE: Duration = Duration::from_secs(1);

/// How long an Order takes to be heard of, and the CA to issue.
const ORDER_PAUSE: Duration = Duration::from_millis(250);

/// All of it.
pub(crate) struct Simulation {
    pub(crate) scenario: Scenario,
    pub(crate) figures: Figures,
    pub(crate) authority: Authority,
    pub(crate) polls: Polls,
    pub(crate) fleet: Vec<Certificate>,
    client: Client,
    wheel: Wheel,
    /// Woken by the wheel, and not looked at.
    woken: VecDeque<Entry>,
    /// In the Orders' queue after their first step.
    orders: VecDeque<Entry>,
    challenges: VecDeque<Entry>,
    /// In the midst of a reconcile.
    under_way: VecDeque<Entry>,
    /// Whether a Challenge is next where an Order is ready as well.
    challenge_next: bool,
}

impl Simulation {
    /// The world as it is at the beginning.
    pub(crate) fn new(scenario: Scenario) -> Self {
        let outage = |name, range: &std::ops::Range<Duration>| Outage {
            name,
            end: range.end,
            length: range.end.saturating_sub(range.start),
            longest: 0,
            drained: None,
        };
        let outages = [outage("CA", &scenario.ca_outage), outage("operator", &scenario.operator_outage)];
        let mut it = Self {
            figures: Figures::new(outages),
            authority: Authority::new(scenario.certificates),
            polls: Polls::new(&scenario),
            fleet: Vec::new(),
            client: Client::new(&scenario, scenario.begin),
            wheel: Wheel::new(scenario.begin, scenario.minutes()),
            woken: VecDeque::new(),
            orders: VecDeque::new(),
            challenges: VecDeque::new(),
            under_way: VecDeque::new(),
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

    /// Lets the time go by.
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
        let woken = self.wheel.take();
        for entry in &woken {
            self.wake(*entry);
        }
        self.woken.extend(woken);
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
        self.watch_outages(now);
    }

    fn next_id(&self) -> Id {
        Id::try_from(self.fleet.len()).expect("a fleet of some millions")
    }

    fn certificate(&mut self, id: Id) -> &mut Certificate {
        &mut self.fleet[usize::try_from(id).expect("an index")]
    }

    /// Somebody's time has come: to renew, or to go on with what is under way.
    fn wake(&mut self, entry: Entry) {
        let certificate = self.certificate(entry.id);
        if certificate.due.is_none() {
            certificate.due = Some(seconds(entry.at));
            let renews = certificate.renews;
            self.figures.queue(renews).enter(entry.at);
        }
    }

    /// The operator begins anew: with what stands in objects, which it hears of in any order, and with nothing else.
    fn restart(&mut self, now: Duration) {
        self.client = Client::new(&self.scenario, now);
        for certificate in &mut self.fleet {
            certificate.turn = None;
            certificate.errors = 0;
        }
        let seed = self.scenario.seed;
        let order = |entry: &Entry| fraction("heard", &[seed, i64::from(entry.id)]).to_bits();
        self.woken.make_contiguous().sort_unstable_by_key(order);
        for entry in &mut self.woken {
            entry.at = now;
        }
    }

    /// Takes who has the next turn before `end`, and says when it is.
    fn next(&mut self, end: Duration) -> Option<Entry> {
        let at = |queue: &VecDeque<Entry>| queue.front().map_or(Duration::MAX, |entry| entry.at);
        let (woken, order) = (at(&self.woken), at(&self.orders));
        let (challenge, under_way) = (at(&self.challenges), at(&self.under_way));
        let first_order = woken.min(order);
        let now = self.client.free_at().max(first_order.min(challenge).min(under_way));
        if now >= end {
            return None;
        }
        let queue = if under_way <= now {
            &mut self.under_way
        } else if challenge <= now && (self.challenge_next || now < first_order) {
            self.challenge_next = false;
            &mut self.challenges
        } else {
            self.challenge_next = true;
            if woken <= order { &mut self.woken } else { &mut self.orders }
        };
        queue.pop_front().map(|entry| Entry { at: now, id: entry.id })
    }

    /// Does the next step of an issuance.
    fn step(&mut self, id: Id, now: Duration) {
        let outcome = match self.certificate(id).step {
            Step::Place => self.place(id, now),
            Step::Read => self.post(Request::Authorization, now).map(|at| self.go_on(id, Step::Accept, at)),
            Step::Accept => self.accept(id, now),
            Step::Check => self.check(id, now),
            Step::Finalize => self.finalize(id, now),
            Step::Poll => self.post(Request::Order, now).map(|at| self.go_on(id, Step::Download, at)),
            Step::Download => self.post(Request::Certificate, now).map(|at| self.finish(id, at)),
        };
        match outcome {
            Ok(()) => self.certificate(id).errors = 0,
            Err(failure) => self.try_again(id, failure),
        }
    }

    fn post(&mut self, request: Request, now: Duration) -> Result<Duration, Failure> {
        self.client.post(request, now, &mut self.authority, &mut self.figures.requests)
    }

    fn go_on(&mut self, id: Id, step: Step, at: Duration) {
        self.certificate(id).step = step;
        let (queue, pause) = match step {
            Step::Read | Step::Download => (&mut self.under_way, Duration::ZERO),
            Step::Accept | Step::Check => (&mut self.challenges, CHALLENGE_PAUSE),
            Step::Place | Step::Finalize | Step::Poll => (&mut self.orders, ORDER_PAUSE),
        };
        queue.push_back(Entry { at: at + pause, id });
    }

    fn place(&mut self, id: Id, now: Duration) -> Result<(), Failure> {
        let Certificate { renews, validity, turn, .. } = *self.certificate(id);
        if !renews {
            let turn = self.client.turn(now, turn);
            self.certificate(id).turn = turn;
            if let Some(turn) = turn {
                self.wheel.put(Entry { at: Duration::from_secs(turn.into()), id });
                return Ok(());
            }
        }
        let replaces = validity.filter(|_| fleet::asks_when_to_renew(id));
        let placed = self.client.order(id, replaces, now, &mut self.authority, &mut self.figures.requests)?;
        self.certificate(id).ordered = seconds(placed);
        self.go_on(id, Step::Read, placed);
        Ok(())
    }

    fn accept(&mut self, id: Id, now: Duration) -> Result<(), Failure> {
        let at = self.post(Request::Challenge, now)?;
        if !Authority::is_pending(self.certificate(id).ordered, at) {
            self.lapse(id, at);
            return Ok(());
        }
        if !validates(id) {
            self.authority.fail(id, at);
        }
        self.go_on(id, Step::Check, at);
        Ok(())
    }

    fn check(&mut self, id: Id, now: Duration) -> Result<(), Failure> {
        let at = self.post(Request::Authorization, now)?;
        if validates(id) {
            self.go_on(id, Step::Finalize, at);
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
            self.go_on(id, Step::Poll, at);
        } else {
            self.lapse(id, at);
        }
        Ok(())
    }

    /// The CA has not waited so long.
    fn lapse(&mut self, id: Id, now: Duration) {
        let profile = self.certificate(id).profile;
        self.figures.outcomes_mut(profile).lapsed += 1;
        self.fail(id, now);
    }

    /// The certificate is there.
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

    /// An issuance has failed, and waits as the operator's decisions say.
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

    /// The CA was out, or has refused something: the step is tried again.
    fn try_again(&mut self, id: Id, failure: Failure) {
        let wait = if let Some(refusal) = failure.refusal {
            refusal.retry_after
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

    /// Those that expired and have no successor to this day.
    fn count_expired(&mut self) {
        let end = seconds(self.scenario.end);
        for certificate in &self.fleet {
            if certificate.validity.is_some_and(|validity| validity.not_after < end) {
                self.figures.outcomes_mut(certificate.profile).expired += 1;
            }
        }
    }

    fn watch_outages(&mut self, now: Duration) {
        // Each lifetime's half of the fleet, by how long it is until it renews.
        let usual: f64 = fleet::Profile::ALL
            .iter()
            .map(|profile| profile.lifetime())
            .map(|lifetime| MINUTE.div_duration_f64(lifetime) / renewal_share(lifetime))
            .map(|share| share * f64::from(self.next_id()) / 2.0)
            .sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundreds")]
        let usual = usual.ceil() as u32;
        let waiting = self.figures.renewals.length;
        for outage in &mut self.figures.outages {
            outage.watch(now, waiting, usual);
        }
    }

    /// How often limits refused something, those that did.
    pub(crate) fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.authority.refused().filter(|(_, times)| *times > 0).collect()
    }
}
