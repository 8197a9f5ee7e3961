//! What the answers to an Order's requests mean.

use std::time::Duration;

use crds::{
    acme::{OrderStatus, State},
    condition::whole_seconds,
};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use kube::ResourceExt;

use super::{
    Action, Answer, ChallengePlan, Decision, OrderProgress, Outcome, REPORT_AFTER, Request, View, challenges,
    draft::Draft,
    has_identifier, is_final, is_read, missing_profile, new_order, non_empty,
    placing::{stored_authorization, unordered, waiting_for_slot},
    progress::{Phase, Placed},
};
use crate::{
    acme::{AcmeError, AuthorizationState, OrderState, OrderStatus as ServerStatus},
    decision::{
        Reaction, Requeue, backoff,
        limits::{is_about_new_orders, later},
        new_orders::NewOrderSlot,
        problem::{with_next_attempt, with_time},
        retry::EXPECTATION_TTL,
    },
    pki::{Chain, ChainError},
};

/// The longest wait between two polls of a server that does not say when to poll again.
const SHORT_POLL: Duration = Duration::from_secs(10);

/// The URL of an order is stored together with its authorizations, which saves a write, if there are only so many, and they are
/// read so quickly. Otherwise it is stored first: a process that ends meanwhile would leave an order that the next one can't
/// find, and places again.
const QUICKLY_READ: usize = 8;
const QUICK: Duration = Duration::from_secs(2);

/// How the reconcile continues after a request. `view` has the status and the progress of the decision that named the request.
pub fn on_answer(view: &View<'_>, request: &Request, answer: Answer) -> Decision {
    let mut draft = Draft::new(view);
    if matches!((request, &answer), (Request::Finalize { .. }, Answer::Order(_))) {
        // Remembered before the certificate is requested: if that fails, the CSR is not sent again.
        draft.progress.phase = draft.progress.phase.finalized(view.now);
    }
    match answer {
        Answer::Stored(status) => draft.on_stored(status.as_ref()),
        Answer::Profiles(offered) => draft.on_profiles(&offered),
        Answer::Slot(slot) => draft.on_slot(slot),
        Answer::Placed { url, state } => draft.on_placed(url, &state),
        Answer::Order(state) if is_read(&draft.status) => draft.on_server_state(&state),
        Answer::Order(state) => draft.read_authorizations(&state),
        Answer::Authorizations(authorizations) => draft.on_authorizations(authorizations),
        // Stores the URL. The status then enqueues the Order.
        Answer::SlowAuthorizations => draft.write(Requeue::Resync),
        Answer::KeyAuthorizations(planned) => draft.create_challenges(planned),
        Answer::Certificate(chain) => draft.on_certificate(chain),
        Answer::Failed(error) => draft.on_acme_error(request, error),
    }
}

impl Draft<'_> {
    fn on_stored(mut self, status: Option<&OrderStatus>) -> Decision {
        if status.is_some_and(|status| non_empty(status.url.as_deref()).is_none() && !is_final(status.state))
        {
            self.progress.is_unplaced = true;
            return self.place();
        }
        // The watch will show what has happened to it.
        self.finish(Vec::new(), Outcome::Requeue(Requeue::After(EXPECTATION_TTL)))
    }

    fn on_profiles(self, offered: &[String]) -> Decision {
        let profile = self.view.order.spec.profile.as_deref().unwrap_or_default();
        match missing_profile(profile, offered) {
            Some(reason) => self.fail(State::Errored, reason),
            None => self.request_slot(),
        }
    }

    fn on_slot(mut self, slot: NewOrderSlot) -> Decision {
        match slot {
            NewOrderSlot::Now => {
                self.progress.phase = Phase::Start;
                let order = self.new_order();
                self.send(Request::Place(order))
            }
            NewOrderSlot::At(slot) => {
                self.progress.phase = Phase::Queued { slot };
                let reason = waiting_for_slot(self.view.issuer.new_orders, slot);
                self.hold_until(slot, Some(reason));
                let requeue = Requeue::at(slot, self.view.now);
                self.write(requeue)
            }
        }
    }

    fn on_placed(mut self, url: String, state: &OrderState) -> Decision {
        self.progress.placed = Some(Placed { url: url.clone(), finalize_url: state.finalize.clone() });
        self.status.url = Some(url);
        self.read_authorizations(state)
    }

    /// Each authorization is read once, and what it offers is stored.
    fn read_authorizations(mut self, state: &OrderState) -> Decision {
        // It is immutable in the status.
        if non_empty(self.status.finalize_url.as_deref()).is_none() {
            self.status.finalize_url = Some(state.finalize.clone());
        }
        let is_ready = state.status == ServerStatus::Ready;
        self.status.state = Some(if is_ready { State::Ready } else { State::Pending });
        if state.authorizations.is_empty() {
            let reason = "the ACME server returned an order without authorizations".to_owned();
            return self.fail(State::Errored, reason);
        }
        let (wanted, ordered) =
            (state.authorizations.len(), new_order(&self.view.order.spec, self.view.now).identifiers.len());
        if wanted > ordered {
            let reason = format!(
                "the ACME server returned {wanted} authorizations for an order of {ordered} names. Have the CA correct this, or \
                 use another CA"
            );
            return self.fail(State::Errored, reason);
        }
        let stored = self.view.order.status.as_ref().and_then(|status| status.url.as_deref());
        let is_stored = non_empty(stored).is_some();
        if !is_stored && wanted > QUICKLY_READ {
            // As if they had been read slowly.
            return self.write(Requeue::Resync);
        }
        let within = (!is_stored).then_some(QUICK);
        self.send(Request::Authorizations { urls: state.authorizations.clone(), within })
    }

    fn on_authorizations(mut self, authorizations: Vec<(String, AuthorizationState)>) -> Decision {
        let stored: Vec<_> =
            authorizations.into_iter().map(|(url, state)| stored_authorization(url, &state)).collect();
        if let Some(unknown) = stored.iter().find(|authorization| !has_identifier(authorization)) {
            let reason = format!(
                "the authorization {} is for an identifier that is neither a DNS name nor an IP address",
                unknown.url
            );
            return self.fail(State::Errored, reason);
        }
        if let Some(reason) = unordered(&self.view.order.spec, self.view.now, &stored) {
            return self.fail(State::Errored, reason);
        }
        self.status.authorizations = Some(stored);
        self.status.reason = None;
        self.progress.failures = 0;
        // The status enqueues the Order.
        self.write(Requeue::Resync)
    }

    /// The Challenges enqueue the Order.
    fn create_challenges(self, planned: Vec<(ChallengePlan, String)>) -> Decision {
        let authorizations = self.status.authorizations.as_deref().unwrap_or_default();
        let strays = challenges::strays(self.view, authorizations);
        let mut actions = challenges::delete(self.view, strays);
        let order = self.view.order;
        let created = planned.into_iter().map(|(plan, key)| plan.build(order, key)).collect();
        actions.push(Action::CreateChallenges(created));
        self.finish(actions, Outcome::Requeue(Requeue::Resync))
    }

    /// What the state of the order at the server means, once all challenges are valid.
    fn on_server_state(self, state: &OrderState) -> Decision {
        match (state.status, &state.certificate) {
            (ServerStatus::Valid, Some(url)) => {
                let preferred_chain = self.view.issuer.acme.preferred_chain.clone().unwrap_or_default();
                self.send(Request::Certificate { url: url.clone(), preferred_chain })
            }
            (ServerStatus::Invalid, _) => {
                let detail = state.error.as_ref().and_then(|problem| problem.detail.clone());
                let reason = detail.filter(|detail| !detail.is_empty()).unwrap_or_else(|| {
                    "the ACME server marked the order as invalid without giving a reason".to_owned()
                });
                self.fail(State::Invalid, reason)
            }
            // A valid order without a certificate has it soon.
            (
                ServerStatus::Pending | ServerStatus::Ready | ServerStatus::Processing | ServerStatus::Valid,
                _,
            ) => self.poll_again(state),
        }
    }

    fn poll_again(mut self, state: &OrderState) -> Decision {
        let now = self.view.now;
        let (phase, polling, wait) = self.progress.phase.polled(state.status, state.retry_after, now);
        let until = later(now, wait);
        self.progress.phase = phase;
        self.progress.failures = 0;
        let is_long = wait > REPORT_AFTER || now >= later(polling.since, REPORT_AFTER);
        let reason = is_long.then(|| waiting_for_server(state.status, wait, until));
        self.hold_until(until, reason);
        self.write(Requeue::After(wait))
    }

    fn on_certificate(mut self, chain: Result<Chain, ChainError>) -> Decision {
        let chain = match chain {
            Ok(chain) => chain,
            Err(error) => return self.fail(State::Errored, error.to_string()),
        };
        self.status.certificate = Some(ByteString(chain.to_pem().into_bytes()));
        self.status.state = Some(State::Valid);
        self.status.reason = None;
        // The status enqueues the Order for the cleanup.
        self.write(Requeue::Resync)
    }

    /// What a failed request means for the order.
    fn on_acme_error(self, request: &Request, error: AcmeError) -> Decision {
        // All challenges are valid, and the server has not noticed yet or has made the order invalid: its state says which.
        if let Request::Finalize { url, .. } = request
            && error.problem_type() == Some("orderNotReady")
        {
            return self.send(Request::Order { url: url.clone() });
        }
        let reaction = match request {
            Request::Place(order) if order.replaces.is_some() && error.may_be_caused_by_replaces() => {
                return Self { progress: OrderProgress { without_replaces: true, ..self.progress }, ..self }
                    .request_slot();
            }
            Request::Place(_) => Reaction::to_new_order(&error),
            _ => Reaction::to(&error),
        };
        let places = matches!(request, Request::Place(_));
        // As cert-manager says it.
        let failure = || if places { format!("Failed to create Order: {error}") } else { error.to_string() };
        match reaction {
            Reaction::Retry => self.retry(error, Vec::new()),
            Reaction::WaitFor(wait) => self.wait_for_server(request, &error, wait),
            Reaction::RecoverAccount => self.retry(error, vec![Action::RecoverAccount]),
            // The account may have been deactivated: its issuer finds out.
            Reaction::Fail if places && error.problem_type() == Some("unauthorized") => {
                self.fail_after(vec![Action::RecoverAccount], State::Errored, failure())
            }
            Reaction::Fail => self.fail(State::Errored, failure()),
        }
    }

    fn retry(mut self, error: AcmeError, mut actions: Vec<Action>) -> Decision {
        let after = self.back_off();
        let until = later(self.view.now, after);
        self.hold_until(until, Some(with_next_attempt(&error, after, until)));
        actions.push(Action::WriteStatus);
        self.finish(actions, Outcome::Retry { error, after })
    }

    /// The server's wait is the shortest that it accepts: one that repeats short waits is sent less and less often, too.
    fn wait_for_server(mut self, request: &Request, error: &AcmeError, wait: Duration) -> Decision {
        let wait = wait.max(self.back_off());
        let until = later(self.view.now, wait);
        self.hold_until(until, Some(with_time(error, until)));
        let mut actions = Vec::new();
        let detail = error.problem().and_then(|problem| problem.detail.as_deref()).unwrap_or_default();
        if matches!(request, Request::Place(_)) && is_about_new_orders(detail) {
            self.progress.counts = true;
            // Keeps the account's other new orders from being rejected as well.
            actions.push(Action::CloseNewOrders { until });
        }
        actions.push(Action::WriteStatus);
        self.finish(actions, Outcome::Requeue(Requeue::After(wait)))
    }

    fn back_off(&mut self) -> Duration {
        let after = backoff::after_error(self.progress.failures, &self.view.order.uid().unwrap_or_default());
        self.progress.failures = self.progress.failures.saturating_add(1);
        after
    }
}

/// Why an order is not done although all its challenges are valid, for people.
fn waiting_for_server(status: ServerStatus, wait: Duration, until: Timestamp) -> String {
    let state = match status {
        ServerStatus::Pending => "pending",
        ServerStatus::Ready => "ready",
        ServerStatus::Processing => "processing",
        ServerStatus::Valid => "valid but has no certificate yet",
        ServerStatus::Invalid => "invalid",
    };
    // One text for all short waits, so that polling does not write a status each time.
    let next = if wait <= SHORT_POLL {
        "it is polled every few seconds".to_owned()
    } else {
        format!("the next poll is at {}", whole_seconds(until).0)
    };
    format!("waiting for the ACME server to issue the certificate: the order is {state}; {next}")
}
