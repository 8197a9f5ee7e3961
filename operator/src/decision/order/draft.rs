//! The course of an order: which request or action comes next.

use crds::{
    acme::{OrderStatus, State},
    condition::{one_line, whole_seconds},
};
use jiff::Timestamp;
use kube::ResourceExt;

use super::{
    Action, Decision, Next, OrderProgress, Outcome, Renewal, Request, View,
    challenges::{self, ChallengesState},
    new_order, non_empty,
    progress::{Phase, Placed, Wait},
};
use crate::{
    acme::NewOrder,
    decision::{Requeue, retry::EXPECTATION_TTL},
    objects::EventNote,
    pki::Csr,
    reason::Reason,
};

/// The longest reason of a failure, in bytes. It may hold what a server sends.
const LONGEST_REASON: usize = 2000;

/// A decision in the making.
pub(super) struct Draft<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) status: OrderStatus,
    pub(super) progress: OrderProgress,
}

impl<'a> Draft<'a> {
    pub(super) fn new(view: &'a View<'a>) -> Self {
        let (mut status, mut progress) = (view.status.clone(), view.progress.clone());
        progress.wait = progress.wait.filter(|wait| wait.until > view.now);
        // Invariant: an order whose URL is known is never placed again, even if the status in the cache lacks the URL.
        if non_empty(status.url.as_deref()).is_none()
            && let Some(Placed { url, finalize_url }) = &progress.placed
        {
            status.url = Some(url.clone());
            status.finalize_url = Some(finalize_url.clone());
            status.state = status.state.or(Some(State::Pending));
        }
        Self { view, status, progress }
    }

    /// The first request for an order that was not placed yet. One that can't be completed is not placed: each counts for the CA.
    pub(super) fn place(self) -> Decision {
        if let Err(reason) = challenges::check_solvers(self.view) {
            return self.wait_for_solver(&reason);
        }
        if !self.view.created_here && !self.progress.is_unplaced {
            return self.send(Request::Stored);
        }
        match &self.view.order.spec.profile {
            Some(_) => self.send(Request::Profiles),
            None => self.request_slot(),
        }
    }

    /// CAs don't count renewals among an account's new orders, so these need no slot.
    pub(super) fn request_slot(self) -> Decision {
        let order = self.new_order();
        let renews = match self.view.renewal {
            Renewal::AllNames => true,
            Renewal::SomeNames => order.replaces.is_some(),
            Renewal::Nothing => false,
        };
        if renews && !self.progress.counts {
            return self.send(Request::Place(order));
        }
        let held = match self.progress.phase {
            Phase::Queued { slot } => Some(slot),
            Phase::Start | Phase::AwaitingReady(_) | Phase::Finalized(_) => None,
        };
        let limit = self.view.issuer.new_orders;
        self.send(Request::Slot { limit, held })
    }

    /// The order to place.
    pub(super) fn new_order(&self) -> NewOrder {
        let order = new_order(&self.view.order.spec, self.view.now);
        NewOrder { replaces: order.replaces.filter(|_| !self.progress.without_replaces), ..order }
    }

    /// Proves control of the identifiers: one Challenge for each authorization that is not valid yet, then the CSR.
    pub(super) fn prove(mut self) -> Decision {
        let authorizations = self.status.authorizations.as_deref().unwrap_or_default();
        let missing = match challenges::missing(self.view, authorizations) {
            Ok(missing) => missing,
            Err(reason) => return self.wait_for_solver(&reason),
        };
        if !self.view.left_behind.is_empty() {
            let delete = challenges::delete(self.view, self.view.left_behind.to_vec());
            return self.finish(delete, Outcome::Requeue(Requeue::After(EXPECTATION_TTL)));
        }
        if !missing.is_empty() {
            return self.send(Request::KeyAuthorizations(missing));
        }
        let strays = challenges::strays(self.view, authorizations);
        if !strays.is_empty() {
            let delete = challenges::delete(self.view, strays);
            return self.finish(delete, Outcome::Requeue(Requeue::Resync));
        }
        match challenges::state(self.view.challenges) {
            ChallengesState::Valid => self.finalize(),
            ChallengesState::Waiting { reason } => {
                self.status.reason = reason;
                self.write(Requeue::Resync)
            }
            ChallengesState::Failed { state, reason } => self.fail(state, reason),
        }
    }

    /// Does nothing until a change of the issuer enqueues the Order.
    fn wait_for_solver(mut self, reason: &str) -> Decision {
        self.status.reason = Some(format!("{reason}. The Order continues when this is corrected"));
        self.write(Requeue::Resync)
    }

    fn finalize(self) -> Decision {
        let csr = match Csr::from_pem(&self.view.order.spec.request.0) {
            Ok(csr) => csr.der,
            Err(error) => return self.fail(State::Errored, error.to_string()),
        };
        let url = self.status.url.clone().unwrap_or_default();
        let finalize_url = self.status.finalize_url.clone().unwrap_or_default();
        self.send(Request::Finalize { url, finalize_url, csr })
    }

    /// Makes a request, if the issuer has the account for it. Otherwise, a change of the issuer enqueues the Order.
    pub(super) fn send(mut self, request: Request) -> Decision {
        if self.view.issuer.has_account {
            let Self { view: _, status, progress } = self;
            return Decision { status, progress, next: Next::Send(request) };
        }
        let issuer = self.view.order.spec.issuer_ref.identity();
        self.status.reason = Some(format!(
            "waiting for the {} {:?} to become ready: see its Ready condition",
            issuer.kind, issuer.name
        ));
        self.write(Requeue::Resync)
    }

    /// Sends nothing before a time that the server or a backoff has set. `reason` is for people. A short wait has none, and
    /// leaves that of an earlier one: writing the status twice would only take time.
    pub(super) fn hold_until(&mut self, until: Timestamp, reason: Option<String>) {
        if reason.is_some() {
            self.status.reason.clone_from(&reason);
        }
        self.progress.wait = Some(Wait { until, reason });
    }

    /// Ends the order. Its own status then enqueues it for the cleanup.
    pub(super) fn fail(self, state: State, reason: String) -> Decision {
        self.fail_after(Vec::new(), state, reason)
    }

    /// As [`Self::fail`], after other actions.
    pub(super) fn fail_after(mut self, mut actions: Vec<Action>, state: State, reason: String) -> Decision {
        self.status.state = Some(state);
        self.status.failure_time = Some(whole_seconds(self.view.now));
        let reason = if reason.len() > LONGEST_REASON { one_line(&reason, LONGEST_REASON) } else { reason };
        self.status.reason = Some(reason.clone());
        let event = EventNote::warning(Reason::Failed, reason);
        actions.extend([Action::WriteStatus, Action::Publish(event)]);
        self.finish(actions, Outcome::Requeue(Requeue::Resync))
    }

    /// Deletes the Challenges of an order in a final state, and forgets its progress.
    pub(super) fn clean_up(mut self) -> Decision {
        self.progress = OrderProgress::default();
        if self.view.challenges.is_empty() {
            return self.finish(Vec::new(), Outcome::Requeue(Requeue::OnChange));
        }
        let names = self.view.challenges.iter().map(|challenge| challenge.name_any()).collect();
        let delete = challenges::delete(self.view, names);
        self.finish(delete, Outcome::Requeue(Requeue::After(EXPECTATION_TTL)))
    }

    pub(super) fn write(self, requeue: Requeue) -> Decision {
        self.finish(vec![Action::WriteStatus], Outcome::Requeue(requeue))
    }

    pub(super) fn finish(self, actions: Vec<Action>, outcome: Outcome) -> Decision {
        let Self { view: _, status, progress } = self;
        Decision { status, progress, next: Next::Finish { actions, outcome } }
    }
}
