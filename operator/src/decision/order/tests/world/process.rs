//! The process that reconciles the Order: `controllers/order` without its I/O.

use std::{fmt::Write, sync::Arc, time::Duration};

use crds::acme::{Challenge, OrderStatus, State};
use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    super::{after, ca::request_name},
    ChallengeCourse, Change, Event, Interruption, Memory, World, WriteCourse,
};
use crate::decision::{
    Requeue, backoff,
    new_orders::{Asking, NewOrderSlot, NewOrders},
    order::{Action, Answer, IssuerView, Next, Outcome, Request, View, decide, is_final, on_answer},
};

/// As in `controllers`: the longest time without a reconcile.
const RESYNC: Duration = Duration::from_hours(1);

/// Why a reconcile has stopped before its end.
#[derive(Debug)]
enum Stop {
    Interrupted(Interruption),
    Conflict,
    Rejected,
    /// The rules are broken.
    Broken(String),
}

impl World {
    /// One reconcile, as `controllers::run` treats it.
    pub(super) fn reconcile(&mut self) -> Result<(), String> {
        let stop = match self.attempt() {
            Ok(outcome) => {
                let requeue = match outcome {
                    Outcome::Requeue(requeue) => requeue,
                    Outcome::Retry { after, .. } => Requeue::After(after),
                };
                self.memory.attempts = 0;
                self.unwritten = false;
                // A resync is not counted: an Order must not depend on it.
                if let Requeue::After(wait) = requeue {
                    self.resync = (wait > RESYNC).then(|| after(self.now, RESYNC));
                    self.enqueue(wait.min(RESYNC));
                }
                return Ok(());
            }
            Err(stop) => stop,
        };
        self.unwritten = true;
        _ = writeln!(self.log, "{} {stop:?}", self.now);
        match stop {
            Stop::Conflict => self.enqueue(Duration::from_millis(200)),
            Stop::Rejected | Stop::Interrupted(Interruption::Deadline) => {
                self.enqueue(backoff::after_error(self.memory.attempts, "Order a/web"));
                self.memory.attempts += 1;
            }
            Stop::Interrupted(Interruption::Crash) => self.restart(),
            Stop::Broken(rule) => return Err(rule),
        }
        Ok(())
    }

    /// The process ends and starts again: it knows what the API server knows.
    fn restart(&mut self) {
        self.memory = Memory::default();
        self.new_orders = NewOrders::new(self.course.new_orders.0);
        self.cause = None;
        if self.status().url.is_none() {
            self.ca.excuse_second_order();
        }
        self.shown_challenges = self.challenges.clone();
        self.events.retain(|_, event| !matches!(event, Event::Challenges(_)));
        if !self.course.starts_stale {
            self.shown = self.order.clone();
            self.events.retain(|_, event| !matches!(event, Event::Order(_)));
        }
        self.next = Some(self.now);
    }

    /// Gathers, decides and applies, as `controllers::order::reconcile`.
    fn attempt(&mut self) -> Result<Outcome, Stop> {
        let (order, challenges) = (self.shown.clone(), self.shown_challenges.clone());
        let is_recent = |time: &Timestamp| after(*time, Duration::from_secs(2)) > self.now;
        let deleted: Vec<_> = self.memory.deleted.iter().filter(|(_, time)| is_recent(time)).collect();
        let deleted: Vec<_> = deleted.into_iter().map(|(name, _)| name.clone()).collect();
        let (acme, now, has_account) = (self.acme.clone(), self.now, self.is_ready);
        let issuer = IssuerView { acme: &acme, has_account, new_orders: self.course.new_orders.0 };
        let status = order.status.clone().unwrap_or_default();
        let progress = self.memory.progress.clone();
        let view = View {
            order: &order,
            status: &status,
            progress: &progress,
            issuer,
            challenges: &challenges,
            submitted: &[],
            left_behind: &[],
            deleted: &deleted,
            renewal: self.course.renewal,
            created_here: self.memory.created_here,
            now,
        };
        let cause = self.cause.take();
        let mut decision = decide(&view);
        loop {
            self.memory.progress = decision.progress.clone();
            match decision.next {
                Next::Send(request) => {
                    let answer = self.send(&request)?;
                    let (status, progress) = (&decision.status, &decision.progress);
                    decision = on_answer(&View { status, progress, ..view }, &request, answer);
                }
                Next::Finish { actions, outcome } => {
                    self.log_finish(&actions, &outcome);
                    if self.cause.is_none() && decision.progress.wait.is_some() {
                        // Nothing was sent: it waits for what it waited for before.
                        self.cause = cause;
                    } else if self.cause.is_none() {
                        self.memory.polling_since = None;
                    }
                    for action in actions {
                        self.apply(action, &decision.status)?;
                    }
                    return Ok(outcome);
                }
            }
        }
    }

    fn send(&mut self, request: &Request) -> Result<Answer, Stop> {
        if !self.is_ready {
            return Err(Stop::Broken(format!("{request:?} without an account")));
        }
        self.burn()?;
        let answer = match request {
            Request::Slot { limit, held } => {
                assert_eq!(*limit, self.course.new_orders.0);
                let asking = Asking { namespace: "default", order: &0, held: *held };
                Answer::Slot(self.new_orders.slot(self.now, &asking))
            }
            Request::Stored => Answer::Stored(Some(self.status())),
            Request::KeyAuthorizations(plans) => {
                Answer::KeyAuthorizations(plans.iter().map(|plan| (plan.clone(), "key".to_owned())).collect())
            }
            _ => self.ca.answer(request, self.now).map_err(Stop::Broken)?,
        };
        let is_polled = matches!(answer, Answer::Order(_));
        let since = self.memory.polling_since.unwrap_or(self.now);
        self.memory.polling_since = is_polled.then_some(since);
        self.cause = match &answer {
            Answer::Failed(error) => Some(error.to_string()),
            Answer::Slot(NewOrderSlot::At(_)) => Some("new-order slot".to_owned()),
            Answer::Order(_) => Some("the order is ".to_owned()),
            _ => None,
        };
        _ = writeln!(self.log, "{} {}: {:?}", self.now, request_name(request), self.cause);
        Ok(answer)
    }

    fn log_finish(&mut self, actions: &[Action], outcome: &Outcome) {
        let names: Vec<_> = actions.iter().map(action_name).collect();
        _ = match outcome {
            Outcome::Requeue(requeue) => writeln!(self.log, "{} {names:?}, then {requeue:?}", self.now),
            Outcome::Retry { after, .. } => writeln!(self.log, "{} {names:?}, retry in {after:?}", self.now),
        };
    }

    fn apply(&mut self, action: Action, status: &OrderStatus) -> Result<(), Stop> {
        self.burn()?;
        self.is_unheard = false;
        match action {
            Action::CloseNewOrders { until } => self.new_orders.close(until),
            Action::RecoverAccount => {
                self.is_ready = false;
                self.schedule(self.course.recovery, Event::Issuer { ready: true });
            }
            Action::DeleteChallenges(names) => {
                self.write()?;
                self.challenges.retain(|challenge| !names.contains(&challenge.name_any()));
                self.memory.deleted.extend(names.into_iter().map(|name| (name, self.now)));
                self.show_challenges();
            }
            Action::CreateChallenges(created) => {
                self.write()?;
                for challenge in created {
                    self.create(challenge);
                }
                self.show_challenges();
            }
            Action::WriteStatus => self.write_status(status)?,
            Action::Publish(event) => self.published.push(event),
        }
        if self.is_unheard { Err(Stop::Rejected) } else { Ok(()) }
    }

    fn create(&mut self, challenge: Challenge) {
        let name = challenge.name_any();
        if self.challenges.iter().any(|there| there.name_any() == name) {
            return;
        }
        let valid = ChallengeCourse { after: Duration::from_secs(1), end: Some(State::Valid) };
        let ChallengeCourse { after, end } =
            self.course.challenges.get(self.created).copied().unwrap_or(valid);
        self.created += 1;
        self.challenges.push(Arc::new(challenge));
        // As the controller of Challenges does.
        let explained = Duration::from_secs(5);
        if after > explained {
            self.schedule(explained, Event::Challenge { name: name.clone(), change: Change::Explained });
        }
        let change = end.map_or(Change::Deleted, Change::Ended);
        self.schedule(after, Event::Challenge { name, change });
    }

    fn write_status(&mut self, status: &OrderStatus) -> Result<(), Stop> {
        if self.shown.status.clone().unwrap_or_default() == *status {
            return Ok(());
        }
        self.write()?;
        if self.shown.resource_version() != self.order.resource_version() {
            return Err(Stop::Conflict);
        }
        let old = self.status();
        let is_kept = |old: &Option<String>, new: &Option<String>| old.is_none() || old == new;
        if !is_kept(&old.url, &status.url) || !is_kept(&old.finalize_url, &status.finalize_url) {
            return Err(Stop::Broken("the order's URL was overwritten".to_owned()));
        }
        if is_final(status.state) && status.state != Some(State::Valid) {
            self.check_failure(status).map_err(Stop::Broken)?;
        }
        self.order.status = Some(status.clone());
        self.show_order();
        Ok(())
    }

    fn show_order(&mut self) {
        self.versions += 1;
        self.order.metadata.resource_version = Some(self.versions.to_string());
        self.schedule(self.course.lag, Event::Order(Box::new(self.order.clone())));
    }

    /// One write, before it takes effect.
    fn write(&mut self) -> Result<(), Stop> {
        let course = self.course.writes.get(self.writes).copied().unwrap_or(WriteCourse::Accepted);
        self.writes += 1;
        match course {
            WriteCourse::Accepted => Ok(()),
            WriteCourse::Conflict => {
                self.show_order();
                Err(Stop::Conflict)
            }
            WriteCourse::Rejected => Err(Stop::Rejected),
            WriteCourse::Unheard => {
                self.is_unheard = true;
                self.interruptions += 1;
                Ok(())
            }
        }
    }

    /// The reconcile may be interrupted before each effect.
    fn burn(&mut self) -> Result<(), Stop> {
        match self.fuses.last_mut() {
            Some((0, interruption)) => {
                let interruption = *interruption;
                self.fuses.pop();
                self.interruptions += 1;
                Err(Stop::Interrupted(interruption))
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

const fn action_name(action: &Action) -> &'static str {
    match action {
        Action::CloseNewOrders { .. } => "close new orders",
        Action::RecoverAccount => "recover account",
        Action::DeleteChallenges(_) => "delete Challenges",
        Action::CreateChallenges(_) => "create Challenges",
        Action::WriteStatus => "write status",
        Action::Publish(_) => "publish",
    }
}
