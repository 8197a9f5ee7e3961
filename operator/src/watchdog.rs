//! The watchdog: a thread of its own that detects when the reactor hangs, which is the thread of the async runtime, logs in which
//! object's reconcile, and ends the process if the hang lasts.
//!
//! A reconcile that never returns to the runtime stops everything else, `/livez` included, while the Lease is still renewed. The kubelet
//! notices after more than a minute, and can't say why. Knows heartbeats; must not do I/O. Next: `controllers/runner.rs`, which says what
//! is reconciled, and `docs/adr/0007-own-lease.md` for why the process ends.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::time::sleep;

use crate::{failpoint, fence, sync::lock};

/// The time between two checks.
const CHECK: Duration = Duration::from_secs(1);

/// The time between two heartbeats of the runtime: between two checks there is at least one.
const BEAT: Duration = Duration::from_millis(500);

/// After how many checks without a heartbeat the log says so. A reconcile computes for milliseconds between two waits.
const REPORTED_AFTER: u32 = 5;

/// After how many checks without a heartbeat, one a second, the process ends: with the restart, a hang costs no more than the loss of a
/// node, 20 s.
pub const ENDS_AFTER: u32 = 15;

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
    let beats = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&beats);
    tokio::spawn(async move {
        loop {
            beats.fetch_add(1, Ordering::Relaxed);
            sleep(BEAT).await;
        }
    });
    let watch = move || {
        let mut hang = Hang::default();
        loop {
            thread::sleep(CHECK);
            if let Some(report) = hang.check(counted.load(Ordering::Relaxed)) {
                act(report);
            }
        }
    };
    thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
}

fn act(report: Report) {
    let object = lock(&CURRENT).clone();
    let object = object.unwrap_or_else(|| "none: it is outside of reconciles".into());
    match report {
        Report::Hangs(seconds) => {
            fence::log_in_time(move || tracing::error!(object = &*object, seconds, "the reactor hangs"));
        }
        Report::Resumed(seconds) => {
            fence::log_in_time(move || tracing::warn!(seconds, "the reactor no longer hangs"));
        }
        Report::Lasts(seconds) => fence::end(&format!(
            "the reactor has been hanging for {seconds} s in the reconcile of this object: {object}"
        )),
    }
}

/// What a check has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// There has been no heartbeat for about so many seconds.
    Hangs(u32),
    /// There is one again, after about so many seconds.
    Resumed(u32),
    /// There has been none for so many seconds that a restart is better.
    Lasts(u32),
}

/// The heartbeats that were counted.
///
/// Time is measured in checks, one per second: a process that was paused, or gets no CPU time, makes no checks either.
#[derive(Debug, Default)]
struct Hang {
    beats: u64,
    /// How many checks in a row have found no heartbeat.
    silent: u32,
}

impl Hang {
    /// What to report, given the number of heartbeats so far. A hang is reported again when it has lasted twice as long.
    fn check(&mut self, beats: u64) -> Option<Report> {
        if beats != self.beats {
            let silent = std::mem::take(&mut self.silent);
            self.beats = beats;
            return (silent >= REPORTED_AFTER).then_some(Report::Resumed(silent));
        }
        self.silent += 1;
        match self.silent {
            ENDS_AFTER.. => Some(Report::Lasts(self.silent)),
            silent if silent.is_multiple_of(REPORTED_AFTER) => Some(Report::Hangs(silent)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports of checks, of which some find a heartbeat.
    fn reports(checks: impl IntoIterator<Item = bool>) -> Vec<Report> {
        let (mut hang, mut beats) = (Hang::default(), 0);
        checks
            .into_iter()
            .filter_map(|beat| {
                beats += u64::from(beat);
                hang.check(beats)
            })
            .collect()
    }

    #[test]
    fn lasting_hang_is_reported_and_ends_the_process() {
        let hangs = std::iter::once(true).chain([false; 15]);
        assert_eq!(reports(hangs), [Report::Hangs(5), Report::Hangs(10), Report::Lasts(15)]);
    }

    #[test]
    fn hang_that_passes_is_reported_and_ends_nothing() {
        let hang = || std::iter::once(true).chain([false; 14]);
        let of_one = [Report::Hangs(5), Report::Hangs(10)];
        let of_two = [&of_one[..], &[Report::Resumed(14)], &of_one].concat();
        assert_eq!(reports(hang().chain(hang())), of_two, "the next hang is another one");
    }

    /// On a busy machine, the runtime is late occasionally.
    #[test]
    fn late_heartbeats_are_not_a_hang() {
        assert_eq!(reports((0..100).map(|check| check % 5 == 0)), []);
    }
}
