//! What the decisions about objects at their limits cost: hostile objects of each kind that a controller reconciles or reads. Next: one
//! file for each kind.

pub(crate) mod certificates;
pub(crate) mod challenges;
pub(crate) mod ingresses;
pub(crate) mod issuers;
pub(crate) mod orders;
pub(crate) mod requests;

use std::{fs, time::Duration};

use jiff::Timestamp;
use peak_alloc::PeakAlloc;
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};

/// The CPU time of a decision in a debug build: release builds need less.
pub(crate) const TIME: Duration = Duration::from_millis(250);

/// The memory of a decision, on top of the object, bytes.
pub(crate) const MEMORY: usize = 20 << 20;

/// The largest object that the API server takes, bytes.
const LARGEST_OBJECT: usize = 1_400_000;

/// The CPU time of this thread.
fn cpu() -> Duration {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").expect("statistics");
    let nanoseconds = schedstat.split_whitespace().next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// Counts what is allocated. What the decision frees is not counted, and neither is what the allocator keeps.
#[global_allocator]
static MEMORY_IN_USE: PeakAlloc = PeakAlloc;

/// Fails if a decision costs too much.
fn measured<T>(what: &str, decide: impl FnOnce() -> T) -> Result<T, TestCaseError> {
    MEMORY_IN_USE.reset_peak_usage();
    let (before, began) = (MEMORY_IN_USE.current_usage(), cpu());
    let decided = decide();
    let (time, memory) = (cpu().saturating_sub(began), MEMORY_IN_USE.peak_usage().saturating_sub(before));
    println!("{what}: {} ms, {} KiB", time.as_millis(), memory >> 10);
    prop_assert!(time < TIME && memory < MEMORY, "{what} takes {time:?} and {memory} bytes");
    Ok(decided)
}

/// Names of a length, as many as fit into an object.
fn names(count: usize, length: usize) -> Vec<String> {
    let fitting = count.min(LARGEST_OBJECT / (length + 6));
    (0..fitting).map(|number| format!("{number:0>length$}.test")).collect()
}

fn number() -> impl Strategy<Value = i64> {
    select(vec![i64::MIN, -1, 0, 1, 4_000_000_000, i64::MAX])
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    select(vec![None, Some(Timestamp::MIN), Some(Timestamp::UNIX_EPOCH), Some(Timestamp::MAX)])
}

fn runner() -> TestRunner {
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
}
