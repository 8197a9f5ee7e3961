//! The statuses of a Challenge.

use crds::{
    acme::{ChallengeStatus, State},
    condition::whole_seconds,
};

use super::{Decision, Next, View};
use crate::{decision::Requeue, objects::EventNote, reason::Reason};

impl View<'_> {
    /// The status of a Challenge that waits for something, and whose answer can be reached or soon will be.
    pub(super) fn waiting(&self, reason: String) -> ChallengeStatus {
        let status = self.blocked(reason);
        let presented_at = status.presented_at.or_else(|| Some(whole_seconds(self.now)));
        ChallengeStatus { presented: Some(true), presented_at, ..status }
    }

    /// The status of a Challenge whose answer can't be reached until a user changes something.
    pub(super) fn blocked(&self, reason: String) -> ChallengeStatus {
        ChallengeStatus {
            processing: Some(true),
            state: Some(State::Pending),
            reason: Some(reason),
            ..self.status()
        }
    }

    /// A final state: the status, an event unless it is `valid`, and nothing more to do.
    pub(super) fn end(&self, state: State, reason: String) -> Decision {
        let event = (state != State::Valid).then(|| EventNote::warning(Reason::Failed, reason.clone()));
        let status = ChallengeStatus {
            processing: Some(false),
            presented: Some(true),
            state: Some(state),
            reason: Some(reason),
            ..self.status()
        };
        Decision { status: Some(status), event, ..Decision::new(None, Next::Requeue(Requeue::Resync)) }
    }

    pub(super) fn status(&self) -> ChallengeStatus {
        self.challenge.status.clone().unwrap_or_default()
    }
}
