//! Where tests end the process: after each thing that the world remembers. Compiled out but for the feature `failpoints`.

/// Environment variable with how many of these things are let pass.
#[cfg(feature = "failpoints")]
pub const KILL_AFTER: &str = "ACME_OPERATOR_KILL_AFTER";

/// Something was written or asked that the world remembers. In tests the process may end here, as by SIGKILL.
#[cfg(feature = "failpoints")]
pub fn passed(what: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    };

    static LIMIT: LazyLock<Option<usize>> = LazyLock::new(|| std::env::var(KILL_AFTER).ok()?.parse().ok());
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    let passed = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
    if LIMIT.is_some_and(|limit| passed >= limit) {
        eprintln!("failpoint {passed}: after {what}");
        // No destructor runs and nothing is flushed: what SIGKILL leaves.
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
pub const fn passed(_: &str) {}
