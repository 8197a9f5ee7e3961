//! The text of a Kubernetes Event, before it is published.

use crds::condition::one_line;

use crate::reason::Reason;

/// The longest message, in bytes. The API server rejects notes of more than 1024 characters.
pub const LONGEST_NOTE: usize = 1000;

/// What an Event says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// Whether the Event is a Warning; otherwise it is Normal.
    pub warning: bool,
    /// For programs.
    pub reason: Reason,
    /// For people: what happened, why, and what to do. On one line of at most [`LONGEST_NOTE`] bytes.
    pub message: String,
}

impl EventNote {
    /// A Normal event: something happened as it should.
    pub fn normal(reason: Reason, message: impl AsRef<str>) -> Self {
        Self { warning: false, reason, message: one_line(message.as_ref(), LONGEST_NOTE) }
    }

    /// A Warning event: a user may have to act.
    pub fn warning(reason: Reason, message: impl AsRef<str>) -> Self {
        Self { warning: true, reason, message: one_line(message.as_ref(), LONGEST_NOTE) }
    }
}
