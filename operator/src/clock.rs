//! Wall-clock time, and the only code that reads it: everything else is passed a [`Clock`] or a [`Timestamp`], so that
//! tests can set the time. Durations are measured with [`tokio::time::Instant`], which tests can pause.

use std::fmt::Debug;

use jiff::Timestamp;

/// A source of the current time.
pub trait Clock: Debug + Send + Sync {
    /// Returns the current time, UTC.
    fn now(&self) -> Timestamp;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "every other reader gets the time from here")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
