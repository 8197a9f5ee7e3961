//! What keeps the operator from reconciling an object, in the words of its status and its events.
//!
//! Knows texts and times; must not know what was tried. Next: `controllers/report.rs`, which writes problems to objects.

use std::{fmt::Display, time::Duration};

use crds::condition::{one_line, whole_seconds};
use jiff::Timestamp;

use crate::{objects::EventNote, reason::Reason};

/// The longest wait whose end a text does not state. With a time in each text, each short retry would write a status, and then
/// that of each owner.
const SHORT: Duration = Duration::from_mins(1);

/// How long another cause is not announced after the last one, so that causes which change with each attempt don't write a status
/// each time, which would be followed by another attempt.
pub const ANNOUNCED_FOR: Duration = Duration::from_secs(5);

/// The longest cause, in bytes: what owners add around it fits in a message, too.
const LONGEST_CAUSE: usize = 700;

/// How a text ends that states when the next attempt is.
const NEXT_ATTEMPT: &str = "; the next attempt is ";

/// Why the last reconcile of an object failed, and when the next one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For programs.
    pub reason: Reason,
    /// For people: what failed, why, what to do, and when the next attempt is.
    pub message: String,
}

impl Problem {
    /// A problem whose next attempt is at `until`, after `wait`.
    pub fn new(reason: Reason, cause: &str, wait: Duration, until: Timestamp) -> Self {
        Self { reason, message: with_next_attempt(one_line(cause, LONGEST_CAUSE), wait, until) }
    }
}

/// A text that says when the next attempt is; the same for all short waits.
///
/// ```
/// use std::time::Duration;
///
/// use operator::decision::problem::{cause, with_next_attempt};
///
/// let until = "2026-01-01T00:05:00Z".parse()?;
/// let text = with_next_attempt("failed", Duration::from_secs(300), until);
/// assert_eq!(text, "failed; the next attempt is at 2026-01-01T00:05:00Z");
/// assert_eq!(cause(&text), "failed");
/// # Ok::<(), jiff::Error>(())
/// ```
pub fn with_next_attempt(cause: impl Display, wait: Duration, until: Timestamp) -> String {
    if wait <= SHORT {
        return format!("{cause}{NEXT_ATTEMPT}within a minute");
    }
    with_time(cause, until)
}

/// A text that says that there are attempts every few minutes: the same for each, so that they don't write a status each time.
pub fn with_regular_attempts(cause: impl Display) -> String {
    format!("{cause}{NEXT_ATTEMPT}within 5 minutes")
}

/// A text with the time of the next attempt, for a wait that happens once.
pub fn with_time(cause: impl Display, until: Timestamp) -> String {
    format!("{cause}{NEXT_ATTEMPT}at {}", whole_seconds(until).0)
}

/// A cause without what differs from one attempt to the next, such as a port: words with digits are left out.
pub fn masked(cause: &str) -> String {
    let is_constant = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
    cause.split_whitespace().filter(is_constant).collect::<Vec<_>>().join(" ")
}

/// The text without the time of the next attempt: the same for each retry.
pub fn cause(text: &str) -> &str {
    text.split_once(NEXT_ATTEMPT).map_or(text, |(cause, _)| cause)
}
/// The event about an object that is ignored, and why.
pub fn unreadable(kind: &str, why: &str) -> EventNote {
    EventNote::warning(Reason::Unreadable, format!("this {kind} is ignored until it is changed: {why}"))
}
