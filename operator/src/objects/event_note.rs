//! The text of a Kubernetes Event, before it is published.

use crate::reason::Reason;

/// What an Event says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// Whether the Event is a Warning; otherwise it is Normal.
    pub warning: bool,
    /// For programs.
    pub reason: Reason,
    /// For people: what happened, why, and what to do.
    pub message: String,
}

impl EventNote {
    /// A Normal event: something happened as it should.
    pub fn normal(reason: Reason, message: impl Into<String>) -> Self {
        Self { warning: false, reason, message: message.into() }
    }

    /// A Warning event: a user may have to act.
    pub fn warning(reason: Reason, message: impl Into<String>) -> Self {
        Self { warning: true, reason, message: message.into() }
    }
}
