//! How a status says what keeps an object from what it asks for.
//!
//! Knows texts and times; must not know what was tried. Next: `order/answers.rs`.

use std::{fmt::Display, time::Duration};

use crds::condition::whole_seconds;
use jiff::Timestamp;

/// The longest wait whose end a text does not state. With a time in each text, each short retry would write a status, and then
/// that of each owner.
const SHORT: Duration = Duration::from_mins(1);

/// How a text ends that states when the next attempt is.
const NEXT_ATTEMPT: &str = "; the next attempt is ";

/// A text that says when the next attempt is; the same for all short waits.
///
/// ```
/// use std::time::Duration;
///
/// use operator::decision::problem::with_next_attempt;
///
/// let until = "2026-01-01T00:05:00Z".parse()?;
/// let text = with_next_attempt("failed", Duration::from_secs(300), until);
/// assert_eq!(text, "failed; the next attempt is at 2026-01-01T00:05:00Z");
/// # Ok::<(), jiff::Error>(())
/// ```
pub fn with_next_attempt(cause: impl Display, wait: Duration, until: Timestamp) -> String {
    if wait <= SHORT {
        return format!("{cause}{NEXT_ATTEMPT}within a minute");
    }
    with_time(cause, until)
}

/// A text with the time of the next attempt, for a wait that happens once.
pub fn with_time(cause: impl Display, until: Timestamp) -> String {
    format!("{cause}{NEXT_ATTEMPT}at {}", whole_seconds(until).0)
}
