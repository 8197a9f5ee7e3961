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
