//! What to do about a Challenge: route the CA's request to the solver, probe that, submit the challenge, poll the authorization.
//!
//! ```text
//! Presenting ─solver Pods answer─▶ Reachable ─route answers, CA accepts─▶ Accepted ─CA has validated─▶ Valid or a final state
//! ```
//!
//! [`decide`] chooses the first action of a reconcile. Each action has one function here that says what its result means:
//! [`on_presented`], [`on_probe`], [`on_submitted`], [`on_authorization`], [`on_cleaned_up`]. Must not know how an action is done:
//! `controllers/challenge.rs` and `solvers` do. Next: `probe.rs` and `responses.rs`.

mod probe;
mod responses;
mod route;
mod route_status;
mod status;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crds::{
    acme::{Challenge, ChallengeStatus, State},
    annotations::challenge::{FINALIZER, LEGACY_FINALIZER},
};
use jiff::Timestamp;
use kube::ResourceExt;

pub use self::{
    probe::{
        Acceptance, Answered, Presentation, Probe, ProbeResult, REPLICA_CONNECTIONS, REPORT_WAITING_AFTER,
        SELF_CHECK_REQUIRED_FOR, on_presented, on_probe, pods_result, replicas_result,
    },
    responses::{VALIDATING, on_authorization, on_submitted},
    route::{RouteWrite, http_route_write, must_empty_slice, must_write_slice, route_write},
    route_status::{explanation, is_accepted, verdicts},
};
use super::{Requeue, order::is_final};
use crate::{acme::AcmeError, objects::EventNote};

/// At every how many probes the route is created again if the watch does not show it. Either the watch is behind, or something has
/// deleted the route.
const RECREATE_ROUTE_EVERY: u32 = 8;

/// How long after an attempt that was brought forward another one may be.
const WAKE_INTERVAL: Duration = Duration::from_secs(1);

/// How far a Challenge is, as far as this process knows. Losing it costs requests, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChallengeProgress {
    /// When the Challenge was created: time that passed before this process started counts.
    pub since: Timestamp,
    /// What has been achieved.
    pub phase: Phase,
    /// How many times its route was presented and probed.
    pub probes: u32,
    /// Since when everything is in place for the route, UTC.
    pub presented_since: Option<Timestamp>,
    /// How often `waitInsteadOfSelfCheck` has started again because the route was lost.
    pub restarts: u32,
    /// Since when every probe of the route has reached no server, UTC.
    pub unreachable_since: Option<Timestamp>,
    /// Since when every probe of the route has got a wrong answer, UTC.
    pub wrong_since: Option<Timestamp>,
    /// The right answers of the route so far.
    pub answered: Option<Answered>,
    /// How many times the authorization was requested.
    pub polls: u32,
    /// How many requests to the CA have failed in a row.
    pub failures: u32,
    /// The last attempt that something said about the route has brought forward, UTC.
    pub woken_for: Option<Timestamp>,
    /// When to act again. Events enqueue a Challenge earlier, for example the watch event of its own status; nothing is repeated
    /// then.
    pub next_attempt: Timestamp,
}

/// What has been achieved for a Challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing: the solver's Pods have not answered yet.
    Presenting,
    /// The solver's Pods answer, so only the route to them is probed.
    Reachable,
    /// The CA was asked to validate.
    Accepted,
    /// The CA has validated the challenge, and no status says so. The Order reads the phase, and deletes the Challenge.
    Valid,
}

impl ChallengeProgress {
    /// The progress of a Challenge that this process has not seen yet.
    pub fn new(challenge: &Challenge, now: Timestamp) -> Self {
        let since = challenge.creation_timestamp().map_or(now, |created| created.0.min(now));
        Self {
            since,
            phase: Phase::Presenting,
            probes: 0,
            presented_since: None,
            restarts: 0,
            unreachable_since: None,
            wrong_since: None,
            answered: None,
            polls: 0,
            failures: 0,
            woken_for: None,
            next_attempt: since,
        }
    }
}

impl ChallengeProgress {
    /// Whether the CA was asked to validate, successfully or not: what it has said counts for this Challenge.
    pub fn is_submitted(&self) -> bool {
        matches!(self.phase, Phase::Accepted | Phase::Valid) || self.failures > 0
    }

    /// The progress once a controller has said something else about the route: it is probed immediately, but at most once a second.
    /// After a failed request to the CA, the CA's wait counts.
    #[must_use]
    pub fn woken(self, now: Timestamp) -> Self {
        if !matches!(self.phase, Phase::Presenting | Phase::Reachable) || self.failures > 0 {
            return self;
        }
        let next = self.woken_for.and_then(|last| last.checked_add(WAKE_INTERVAL).ok());
        let next = next.map_or(now, |next| next.max(now));
        // What serves the route follows shortly, so the next probes are frequent again.
        let probes = self.probes.min(RECREATE_ROUTE_EVERY);
        Self { next_attempt: self.next_attempt.min(next), woken_for: Some(next), probes, ..self }
    }

    /// The progress once the route was deleted: it is presented again immediately.
    #[must_use]
    pub fn without_route(self) -> Self {
        match self.phase {
            Phase::Presenting | Phase::Reachable if self.failures > 0 => {
                Self { probes: 0, answered: None, ..self }
            }
            Phase::Presenting | Phase::Reachable => {
                Self { probes: 0, answered: None, next_attempt: self.since, ..self }
            }
            Phase::Accepted | Phase::Valid => self,
        }
    }
}

/// What is known of a Challenge when something is decided about it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The Challenge.
    pub challenge: &'a Challenge,
    /// Whether its Order asks for it. Other Challenges must not be acted upon.
    pub requested: bool,
    /// What ingress controllers say about the route. Only what follows from a probe depends on it.
    pub acceptance: Acceptance,
    /// What is remembered of it.
    pub progress: ChallengeProgress,
    /// UTC.
    pub now: Timestamp,
}

impl View<'_> {
    fn age(&self) -> Duration {
        Duration::try_from(self.now.duration_since(self.progress.since)).unwrap_or_default()
    }

    /// The progress with a time for the next attempt, and that as a requeue.
    fn again_after(&self, wait: Duration) -> (ChallengeProgress, Requeue) {
        let next_attempt = self.now.checked_add(wait).unwrap_or(Timestamp::MAX);
        (ChallengeProgress { next_attempt, ..self.progress }, Requeue::After(wait))
    }
}

/// An effect, in the order of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the answer reachable.
    Present {
        /// Whether a route that the watch does not show is created.
        create_route: bool,
    },
    /// Request the answer.
    Probe(Probe),
    /// Ask the CA to validate, RFC 8555 section 7.5.1.
    Submit,
    /// Fetch the authorization, which says more than the challenge.
    FetchAuthorization,
    /// Undo what was done to a user's Ingress, and remove the finalizer.
    CleanUp,
}

/// What follows once a decision is recorded.
#[derive(Debug)]
pub enum Next {
    /// Another action, whose result needs another decision.
    Act(Action),
    /// The end of the reconcile.
    Requeue(Requeue),
    /// The end of the reconcile with an error that is retried.
    Retry {
        /// From now.
        after: Duration,
        /// Why.
        source: AcmeError,
    },
}

/// Another controller that has to act on what no watch shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// The Order: the Challenge is valid, and its status does not say so.
    Order,
    /// The issuer: the CA has lost its account.
    Issuer,
}

/// What is recorded, in this order, and what comes next.
#[derive(Debug)]
pub struct Decision {
    /// The status to write, if it differs.
    pub status: Option<ChallengeStatus>,
    /// The event to publish.
    pub event: Option<EventNote>,
    /// What to remember; `None` forgets the Challenge.
    pub progress: Option<ChallengeProgress>,
    /// Who else has to act.
    pub notify: Option<Notify>,
    /// What comes next.
    pub next: Next,
}

impl Decision {
    const fn new(progress: Option<ChallengeProgress>, next: Next) -> Self {
        Self { status: None, event: None, progress, notify: None, next }
    }

    const fn act(progress: ChallengeProgress, action: Action) -> Self {
        Self::new(Some(progress), Next::Act(action))
    }
}

/// Decides how a reconcile starts.
pub fn decide(view: &View<'_>) -> Decision {
    let View { challenge, requested, progress, now, .. } = *view;
    if challenge.metadata.deletion_timestamp.is_some() {
        let held = challenge.finalizers().iter().any(|it| is_ours(it));
        return if held {
            Decision::act(progress, Action::CleanUp)
        } else {
            Decision::new(None, Next::Requeue(Requeue::Resync))
        };
    }
    if !requested || is_final(view.status().state) {
        // The Order may not have read yet that it is valid.
        let kept = Some(progress).filter(|progress| progress.phase == Phase::Valid);
        return Decision::new(kept, Next::Requeue(Requeue::Resync));
    }
    if now < progress.next_attempt {
        return Decision::new(Some(progress), Next::Requeue(Requeue::at(progress.next_attempt, now)));
    }
    match progress.phase {
        Phase::Presenting | Phase::Reachable => {
            // Without probes nothing would notice that the route is gone.
            let create_route = progress.probes.is_multiple_of(RECREATE_ROUTE_EVERY)
                || challenge.spec.solver.wait_instead_of_self_check.is_some();
            Decision::act(progress, Action::Present { create_route })
        }
        Phase::Accepted => Decision::act(progress, Action::FetchAuthorization),
        Phase::Valid => Decision::new(Some(progress), Next::Requeue(Requeue::Resync)),
    }
}

/// The status of a Challenge whose reconcile failed, or `None` if it is in a final state.
pub fn report(challenge: &Challenge, problem: &str) -> Option<ChallengeStatus> {
    let status = challenge.status.clone().unwrap_or_default();
    (!is_final(status.state)).then(|| ChallengeStatus {
        processing: Some(true),
        state: Some(State::Pending),
        reason: Some(problem.to_owned()),
        ..status
    })
}

/// The status without a problem that was solved, or `None` if it does not have that.
pub fn solved(challenge: &Challenge, problem: &str) -> Option<ChallengeStatus> {
    let status = challenge.status.as_ref().filter(|status| status.reason.as_deref() == Some(problem))?;
    Some(ChallengeStatus { reason: None, ..status.clone() })
}

/// Decides what remains to do after [`Action::CleanUp`].
pub const fn on_cleaned_up() -> Decision {
    Decision::new(None, Next::Requeue(Requeue::Resync))
}

/// The finalizers that a Challenge keeps once it is cleaned up.
pub fn remaining_finalizers(challenge: &Challenge) -> Vec<&str> {
    challenge.finalizers().iter().map(String::as_str).filter(|it| !is_ours(it)).collect()
}

fn is_ours(finalizer: &str) -> bool {
    finalizer == FINALIZER || finalizer == LEGACY_FINALIZER
}
