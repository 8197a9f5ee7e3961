//! What is remembered of an Order between two reconciles.

use std::time::Duration;

use crds::acme::OrderStatus;
use jiff::Timestamp;

use crate::{acme::OrderStatus as ServerStatus, decision::backoff};

/// What a process remembers of an Order that is in progress. It may be lost at any time: that costs requests, at worst a
/// second order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderProgress {
    /// Whether the API server has said that no process has stored the URL of an order: only this process can place it now.
    pub(super) is_unplaced: bool,
    /// The order at the server, as soon as it answered: the status may not have it yet.
    pub(super) placed: Option<Placed>,
    /// How far it is.
    pub(super) phase: Phase,
    /// Whether the server has rejected the order because of the certificate that it replaces.
    pub(super) without_replaces: bool,
    /// Whether the CA counts it among the account's new orders, although it seems to renew a certificate.
    pub(super) counts: bool,
    /// How many attempts at the present step have failed in a row.
    pub(super) failures: u32,
    /// Nothing is sent before this wait is over.
    pub(super) wait: Option<Wait>,
}

impl OrderProgress {
    /// The status of an order that was placed by this process.
    pub fn placed_status(&self) -> Option<OrderStatus> {
        let Placed { url, finalize_url } = self.placed.clone()?;
        Some(OrderStatus { url: Some(url), finalize_url: Some(finalize_url), ..OrderStatus::default() })
    }
}

/// An order at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) url: String,
    pub(super) finalize_url: String,
}

/// How far an Order is, as far as its status does not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is known beyond the status.
    #[default]
    Start,
    /// It has a new-order slot.
    Queued {
        /// From when it may be placed, UTC.
        slot: Timestamp,
    },
    /// All challenges are valid, but the server does not take the CSR yet.
    AwaitingReady(Polling),
    /// The server has the CSR.
    Finalized(Polling),
}

/// How often the server was polled, by whether it had the CSR. Both counts only grow, so that a server that goes back and
/// forth between states is polled less and less often, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Polling {
    /// Since when, UTC.
    pub(super) since: Timestamp,
    awaiting_ready: u32,
    finalized: u32,
}

/// A time before which nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// UTC.
    pub(super) until: Timestamp,
    /// What for, for people; none if it is short.
    pub(super) reason: Option<String>,
}

impl Phase {
    /// The phase after the server has taken the CSR.
    pub(super) fn finalized(self, now: Timestamp) -> Self {
        Self::Finalized(self.polling(now))
    }

    fn polling(self, now: Timestamp) -> Polling {
        match self {
            Self::AwaitingReady(polling) | Self::Finalized(polling) => polling,
            Self::Start | Self::Queued { .. } => Polling { since: now, awaiting_ready: 0, finalized: 0 },
        }
    }

    /// The phase after the server has reported an order that is not done, and how long to wait before the next poll.
    pub(super) fn polled(
        self,
        status: ServerStatus,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> (Self, Polling, Duration) {
        let mut polling = self.polling(now);
        let has_csr = !matches!(status, ServerStatus::Pending | ServerStatus::Ready);
        let polls = if has_csr { &mut polling.finalized } else { &mut polling.awaiting_ready };
        let wait = backoff::poll(*polls, retry_after);
        *polls = polls.saturating_add(1);
        (if has_csr { Self::Finalized(polling) } else { Self::AwaitingReady(polling) }, polling, wait)
    }
}
