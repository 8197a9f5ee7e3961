//! The watchdog: a thread of its own that detects when the reactor hangs, which is the thread of the async runtime, and logs in which
//! object's reconcile.
//!
//! A reconcile that never returns to the runtime stops everything else, `/livez` included, so that the kubelet ends the process. Without
//! the watchdog, its log would not say why. Knows heartbeats; must not end the process. Next: `controllers/runner.rs`, which says what is
//! reconciled.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{failpoint, sync::lock};

/// The time between two heartbeats of the runtime, and between two checks.
const BEAT: Duration = Duration::from_secs(1);

/// After how long without a heartbeat the runtime hangs. A reconcile computes for milliseconds between two waits.
const LIMIT: Duration = Duration::from_secs(5);

/// The object whose reconcile the runtime is in. There is one, because the runtime has one thread.
static CURRENT: Mutex<Option<Arc<str>>> = Mutex::new(None);

/// Runs a future, and says which object it works for whenever the runtime is in it.
pub async fn attributed<F: Future>(object: Arc<str>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _entered = Entered::new(&object);
        failpoint::entered(&object);
        future.as_mut().poll(context)
    })
    .await
}

/// Resets the current object when it is dropped, also by a panic.
struct Entered;

impl Entered {
    fn new(object: &Arc<str>) -> Self {
        *lock(&CURRENT) = Some(Arc::clone(object));
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        *lock(&CURRENT) = None;
    }
}

/// Starts the thread and the heartbeat of the runtime that this is called in.
///
/// # Errors
/// The operating system can't start a thread.
pub fn start() -> io::Result<()> {
    let beat = Arc::new(Mutex::new(Instant::now()));
    let last = Arc::clone(&beat);
    tokio::spawn(async move {
        loop {
            *lock(&beat) = Instant::now();
            sleep(BEAT).await;
        }
    });
    let watch = move || {
        let mut hang = Hang::default();
        loop {
            let began = Instant::now();
            thread::sleep(BEAT);
            // If this thread has not run either, the whole process was paused.
            let was_paused = began.elapsed() >= LIMIT;
            let silence = lock(&last).elapsed();
            if !was_paused && let Some(report) = hang.observe(silence) {
                log(report);
            }
        }
    };
    thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
}

fn log(report: Report) {
    match report {
        Report::Hangs(silence) => {
            let object = lock(&CURRENT).clone();
            let object = object.as_deref().unwrap_or("none: it is outside of reconciles");
            tracing::error!(object, seconds = silence.as_secs(), "the reactor hangs");
        }
        Report::Resumed(silence) => {
            tracing::warn!(seconds = silence.as_secs(), "the reactor no longer hangs");
        }
    }
}

/// What the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// There has been no heartbeat for this time.
    Hangs(Duration),
    /// There is one again, after about this time.
    Resumed(Duration),
}

/// A hang that was reported.
#[derive(Debug, Default)]
struct Hang {
    /// How long it is, if there is one.
    silence: Duration,
    /// When it is reported again.
    next: Duration,
}

impl Hang {
    /// What to report, given the time since the last heartbeat. A hang is reported again each time that it has lasted twice as long.
    fn observe(&mut self, silence: Duration) -> Option<Report> {
        if silence < LIMIT {
            let hung = std::mem::take(self).silence;
            return (!hung.is_zero()).then_some(Report::Resumed(hung));
        }
        self.silence = silence;
        if silence < self.next {
            return None;
        }
        self.next = silence * 2;
        Some(Report::Hangs(silence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hang_is_reported_less_and_less_often() {
        let mut hang = Hang::default();
        let reports: Vec<_> = (0..=60)
            .filter_map(|second| hang.observe(Duration::from_secs(second)))
            .map(|report| match report {
                Report::Hangs(silence) => silence.as_secs(),
                Report::Resumed(_) => unreachable!(),
            })
            .collect();
        assert_eq!(reports, [5, 10, 20, 40]);
        let resumed = hang.observe(Duration::ZERO);
        assert_eq!(resumed, Some(Report::Resumed(Duration::from_mins(1))));
        assert_eq!(hang.observe(Duration::from_secs(1)), None);
        assert_eq!(hang.observe(LIMIT), Some(Report::Hangs(LIMIT)), "the next hang is another one");
    }
}
