//! The end of a leader's term. A process that might have lost the Lease ends before another one may lead.
//!
//! Every request that may have a side effect is sent in [`guard`], and a thread that does nothing else checks ten times per second. What a connection has taken over is written in the same turn. Knows times only; must not do I/O, which could delay the end. Next: `leadership.rs`, which extends the term.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    process,
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    clock::{Clock, SystemClock},
    sync::lock,
};

/// How often the thread checks.
const TICK: Duration = Duration::from_millis(100);

/// How long a log line of a process that ends may take: its reader may hang.
const LOG_DEADLINE: Duration = Duration::from_millis(100);

/// The term of this process. `None` if it does not lead, or leads without a Lease.
static TERM: Mutex<Option<Term>> = Mutex::new(None);

/// A time by both clocks. The monotonic clock is never set, and does not count the time that a virtual machine was paused; the wall
/// clock is set, and does count it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    monotonic: Instant,
    wall: Timestamp,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemClock.now() }
    }
}

/// How long a process may lead.
#[derive(Clone, Copy, Debug)]
struct Term {
    /// Immediately before the last renewal was sent: the API server can't have received it earlier.
    renewed: Moment,
    lasts: Duration,
}

impl Term {
    /// Whether the term is over by either clock. A wall clock that is set back can't extend it.
    fn is_over(&self, now: Moment) -> bool {
        let paused = Duration::try_from(now.wall.duration_since(self.renewed.wall)).unwrap_or_default();
        now.monotonic.saturating_duration_since(self.renewed.monotonic).max(paused) >= self.lasts
    }
}

/// Begins or extends the term: the Lease was renewed by a request that was sent after `renewed`.
pub fn extend(renewed: Moment, lasts: Duration) {
    *lock(&TERM) = Some(Term { renewed, lasts });
}

/// Ends the process if its term is over.
fn check() {
    let term = *lock(&TERM);
    if term.is_some_and(|term| term.is_over(Moment::now())) {
        end("the Lease was not renewed within the renew deadline, so another process may become the leader");
    }
}

/// Continues a future that sends something, and ends the process instead once its term is over: a connection may take longer than the
/// rest of the term, or the process may be paused meanwhile.
pub async fn guard<F: Future>(sending: F) -> F::Output {
    let mut sending = pin!(sending);
    poll_fn(|context| {
        check();
        sending.as_mut().poll(context)
    })
    .await
}

/// Starts the thread that checks.
///
/// # Errors
/// The operating system can't start a thread.
pub fn start() -> io::Result<()> {
    let check_forever = || {
        loop {
            thread::sleep(TICK);
            check();
        }
    };
    thread::Builder::new().name("fence".to_owned()).spawn(check_forever).map(drop)
}

/// Ends the process immediately, with everything that it does.
pub fn end(reason: &str) -> ! {
    let reason = reason.to_owned();
    log_in_time(move || tracing::error!(reason, "the process ends"));
    process::exit(1);
}

/// Writes to the log, and returns after 100 ms at the latest: another thread may hang while it writes to the log.
pub fn log_in_time(log: impl FnOnce() + Send + 'static) {
    let (logged, wait) = mpsc::channel();
    let log = move || {
        log();
        _ = logged.send(());
    };
    if thread::Builder::new().spawn(log).is_ok() {
        _ = wait.recv_timeout(LOG_DEADLINE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn term_ends_by_either_clock() {
        let renewed = Moment::now();
        let term = Term { renewed, lasts: Duration::from_secs(10) };
        for (monotonic, wall, expected) in [
            (0, 0, false),
            (9, 9, false),
            (10, 10, true),
            // The virtual machine was paused, or the clock was set forward.
            (1, 60, true),
            // The clock was set back.
            (9, -60, false),
            (10, -60, true),
        ] {
            let now = Moment {
                monotonic: renewed.monotonic + Duration::from_secs(monotonic),
                wall: renewed.wall + jiff::SignedDuration::from_secs(wall),
            };
            assert_eq!(term.is_over(now), expected, "{monotonic} s and {wall} s");
        }
    }
}
