//! What to do next about an Order.
//!
//! Knows the course of an order, RFC 8555 section 7.4, and what every answer of the ACME server means for it. Must not send
//! anything: a [`Decision`] names one request, and [`on_answer`] interprets its answer. Next: `draft.rs` for what comes when,
//! `answers.rs` for the answers, and `controllers/order`, which sends the requests.
//!
//! ```text
//! decide ──▶ stored? ──▶ profiles? ──▶ slot? ──▶ place ──▶ authorizations ──▶ write status
//!        ├─▶ key authorizations ──▶ create Challenges
//!        └─▶ finalize ──▶ order: processing? ──▶ wait, fetch the order again
//!                         └──▶ order: valid ──▶ certificate ──▶ write status
//! ```

mod answers;
mod challenges;
mod draft;
mod placing;
mod progress;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use crds::acme::{AcmeIssuer, Authorization, Challenge, Order, OrderStatus, State};
use jiff::Timestamp;

pub use self::{
    answers::on_answer,
    challenges::{ChallengePlan, asks_for, is_left_behind},
    placing::{Renewal, latest_requests, missing_profile, new_order, placed_only, renewal},
    progress::OrderProgress,
};
use self::{
    draft::Draft,
    progress::{Phase, Wait},
};
use super::{Requeue, new_orders::NewOrderSlot};
use crate::{
    acme::{AcmeError, AuthorizationState, NewOrder, OrderState},
    objects::EventNote,
    pki::{Chain, ChainError},
};

/// How long an Order may wait for the ACME server before its status says so. Most waits are shorter, and a status write
/// would only take time.
const REPORT_AFTER: Duration = Duration::from_secs(5);

/// What is known about an Order.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The Order as the watch shows it.
    pub order: &'a Order,
    /// Its status, with what this reconcile has changed but not written yet.
    pub status: &'a OrderStatus,
    /// What this process remembers of it.
    pub progress: &'a OrderProgress,
    /// Its issuer.
    pub issuer: IssuerView<'a>,
    /// The Challenges that it owns.
    pub challenges: &'a [Arc<Challenge>],
    /// The names of those that the CA was asked to validate. They keep the solver with which that was.
    pub submitted: &'a [String],
    /// Challenges that have the names of its own, and were left behind by an Order of the same name.
    pub left_behind: &'a [String],
    /// Names of Challenges that were deleted, which the watch has not shown yet.
    pub deleted: &'a [String],
    /// What it renews.
    pub renewal: Renewal,
    /// Whether this process has created it, so that no other one can have placed it.
    pub created_here: bool,
    /// UTC.
    pub now: Timestamp,
}

/// What is known about an Order's issuer.
#[derive(Clone, Copy, Debug)]
pub struct IssuerView<'a> {
    /// Its spec.
    pub acme: &'a AcmeIssuer,
    /// Whether its account can be used.
    pub has_account: bool,
    /// How many new orders the CA allows the account in three hours, if that is known.
    pub new_orders: Option<u32>,
}

/// What to do, and what is known by now.
#[derive(Debug)]
pub struct Decision {
    /// The status that the Order should have. Only [`Action::WriteStatus`] writes it.
    pub status: OrderStatus,
    /// What to remember from now on, even if what follows fails.
    pub progress: OrderProgress,
    /// What to do.
    pub next: Next,
}

/// How a reconcile continues.
#[derive(Debug)]
pub enum Next {
    /// With a request. [`on_answer`] interprets its answer.
    Send(Request),
    /// With these actions, which end it. If one fails, the rest is left out.
    Finish {
        /// In this order.
        actions: Vec<Action>,
        /// When the Order is reconciled again.
        outcome: Outcome,
    },
}

/// A question whose answer decides how an order continues, in the order of the protocol.
#[derive(Clone, Debug)]
pub enum Request {
    /// Read the Order from the API server: a process that has ended may have placed it, which the watch has not shown yet. Sends nothing
    /// to the ACME server.
    Stored,
    /// Which profiles the server's directory advertises.
    Profiles,
    /// Whether the account may place a new order now. Sends nothing.
    Slot {
        /// How many new orders the CA allows in three hours, if that is known.
        limit: Option<u32>,
        /// The slot that the Order was given before.
        held: Option<Timestamp>,
    },
    /// Place the order, RFC 8555 section 7.4.
    Place(NewOrder),
    /// Fetch the order.
    Order {
        /// Its URL.
        url: String,
    },
    /// Fetch authorizations, RFC 8555 section 7.5.
    Authorizations {
        /// Their URLs.
        urls: Vec<String>,
        /// How long that may take, if the order's URL is not stored yet.
        within: Option<Duration>,
    },
    /// Derive the key authorizations of Challenges, RFC 8555 section 8.1. Takes the account's key; sends nothing.
    KeyAuthorizations(Vec<ChallengePlan>),
    /// Send the CSR, RFC 8555 section 7.4.
    Finalize {
        /// URL of the order.
        url: String,
        /// Where the CSR goes.
        finalize_url: String,
        /// DER.
        csr: Vec<u8>,
    },
    /// Download the certificate, RFC 8555 section 7.4.2.
    Certificate {
        /// Its URL.
        url: String,
        /// Common name of the issuer of the topmost certificate in the preferred chain; may be empty.
        preferred_chain: String,
    },
}

/// The answer to a [`Request`].
#[derive(Debug)]
pub enum Answer {
    /// The status of the Order at the API server; `None` if the Order is gone.
    Stored(Option<OrderStatus>),
    /// Names of the advertised profiles.
    Profiles(Vec<String>),
    /// Whether the account may place the order now.
    Slot(NewOrderSlot),
    /// The order was placed.
    Placed {
        /// Its URL.
        url: String,
        /// Its state.
        state: OrderState,
    },
    /// The state of the order: it was fetched, or the server took the CSR.
    Order(OrderState),
    /// Authorizations, each with its URL, in the order of the request.
    Authorizations(Vec<(String, AuthorizationState)>),
    /// The authorizations were not read in time.
    SlowAuthorizations,
    /// Planned Challenges, each with its key authorization.
    KeyAuthorizations(Vec<(ChallengePlan, String)>),
    /// The certificate's chain, or why it can't be used.
    Certificate(Result<Chain, ChainError>),
    /// The request failed.
    Failed(AcmeError),
}

/// Something to change, in the order in which it is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Lets the account place no new orders until then.
    CloseNewOrders {
        /// UTC.
        until: Timestamp,
    },
    /// Has the issuer find or register its account again.
    RecoverAccount,
    /// Deletes the Challenges with these names.
    DeleteChallenges(Vec<String>),
    /// Creates Challenges.
    CreateChallenges(Vec<Challenge>),
    /// Writes [`Decision::status`], if it differs from what is there.
    WriteStatus,
    /// Publishes an Event about the Order's failure.
    Publish(EventNote),
}

/// When an Order is reconciled again.
#[derive(Debug)]
pub enum Outcome {
    /// As planned.
    Requeue(Requeue),
    /// An ACME request has failed: it is retried.
    Retry {
        /// Why.
        error: AcmeError,
        /// From now.
        after: Duration,
    },
}

/// The status of an Order whose reconcile failed, or `None` if it is in a final state.
pub fn report(order: &Order, problem: &str) -> Option<OrderStatus> {
    let status = order.status.clone().unwrap_or_default();
    (!is_final(status.state)).then(|| OrderStatus { reason: Some(problem.to_owned()), ..status })
}

/// The status without a problem that was solved, or `None` if it does not have that.
pub fn solved(order: &Order, problem: &str) -> Option<OrderStatus> {
    let status = order.status.as_ref().filter(|status| status.reason.as_deref() == Some(problem))?;
    Some(OrderStatus { reason: None, ..status.clone() })
}

/// Whether an order has reached one of its final states.
pub fn is_final(state: Option<State>) -> bool {
    matches!(state, Some(State::Valid | State::Invalid | State::Expired | State::Errored))
}

/// What to do about an Order, whatever has enqueued it.
pub fn decide(view: &View<'_>) -> Decision {
    let mut draft = Draft::new(view);
    if is_final(view.status.state) {
        return draft.clean_up();
    }
    if let Some(Wait { until, reason }) = draft.progress.wait.clone() {
        // In case the reason could not be written when the wait began.
        draft.status.reason = reason.or(draft.status.reason);
        return draft.write(Requeue::at(until, view.now));
    }
    let Some(url) = non_empty(draft.status.url.as_deref()) else { return draft.place() };
    if !is_read(&draft.status) || matches!(draft.progress.phase, Phase::Finalized(_)) {
        return draft.send(Request::Order { url });
    }
    draft.prove()
}

/// Whether the order's authorizations were read and stored. cert-manager stores their URLs first.
fn is_read(status: &OrderStatus) -> bool {
    let authorizations = status.authorizations.as_deref().unwrap_or_default();
    non_empty(status.finalize_url.as_deref()).is_some()
        && !authorizations.is_empty()
        && authorizations.iter().all(has_identifier)
}

fn has_identifier(authorization: &Authorization) -> bool {
    non_empty(authorization.identifier.as_deref()).is_some()
}

fn non_empty(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}
