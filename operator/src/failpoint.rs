//! Faults for tests: a crash after each external side effect, and a hang in a reconcile. Compiled out unless the feature
//! `failpoints` is on.

/// The environment variable with the number of the failpoint that aborts the process.
#[cfg(feature = "failpoints")]
pub const KILL_AFTER: &str = "ACME_OPERATOR_KILL_AFTER";

/// Marks a finished side effect: a write, or a request to an ACME server. In tests the process may abort here, like on
/// SIGKILL.
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
        // No destructors run and nothing is flushed, like on SIGKILL.
        std::process::abort();
    }
}

/// Does nothing without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
pub const fn passed(_: &str) {}

/// The environment variable with the object in whose reconcile the process hangs once, such as
/// `Issuer.v1.cert-manager.io/name.namespace`.
#[cfg(feature = "failpoints")]
pub const HANG_IN: &str = "ACME_OPERATOR_HANG_IN";

/// The environment variable with the number of seconds for which it hangs.
#[cfg(feature = "failpoints")]
pub const HANG_SECONDS: &str = "ACME_OPERATOR_HANG_SECONDS";

/// Marks that the runtime enters the reconcile of an object. In tests it may hang there.
#[cfg(feature = "failpoints")]
pub fn entered(object: &str) {
    use std::{
        sync::{LazyLock, Once},
        time::Duration,
    };

    static OBJECT: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(HANG_IN).ok());
    static HANG: Once = Once::new();
    if OBJECT.as_deref() == Some(object) {
        let seconds = std::env::var(HANG_SECONDS).ok().and_then(|seconds| seconds.parse().ok());
        HANG.call_once(|| std::thread::sleep(Duration::from_secs(seconds.unwrap_or_default())));
    }
}

/// Does nothing without the feature `failpoints`.
#[cfg(not(feature = "failpoints"))]
pub const fn entered(_: &str) {}
