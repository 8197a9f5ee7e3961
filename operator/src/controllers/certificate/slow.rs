//! Work with long keys and chains, which users choose: on a thread of its own, because reconciles share theirs.

use tokio::task::spawn_blocking;

use crate::error::ReconcileError;

/// Runs work; on a thread of its own if it is slow.
pub(super) async fn run<T: Send + 'static>(
    is_slow: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReconcileError> {
    if !is_slow {
        return Ok(work());
    }
    spawn_blocking(work).await.map_err(|error| ReconcileError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_slow_work_has_a_thread_of_its_own() {
        let here = thread::current().id();
        let thread_of = async |is_slow| run(is_slow, || thread::current().id()).await.expect("it ends");
        assert_eq!(thread_of(false).await, here);
        assert_ne!(thread_of(true).await, here);
    }

    /// It must not end the process.
    #[tokio::test]
    async fn panic_in_slow_work_is_an_error() {
        let outcome = run(true, || -> () { panic!("for the test") }).await;
        assert!(matches!(outcome, Err(ReconcileError::Internal(_))), "{outcome:?}");
    }
}
