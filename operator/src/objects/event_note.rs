//! The text of a Kubernetes Event, before it is published.

/// What an Event says about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// Whether the Event is a Warning; otherwise it is Normal.
    pub warning: bool,
    /// For programs: one word in PascalCase.
    pub reason: String,
    /// For people: what happened, why, and what to do.
    pub message: String,
}

impl EventNote {
    /// A Normal event: something happened as it should.
    pub fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), message: message.into() }
    }

    /// A Warning event: a user may have to act.
    pub fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.into(), message: message.into() }
    }
}
