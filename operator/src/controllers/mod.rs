//! One controller per kind: it reads the world, asks `decision` what to do, and does that.
//!
//! ```text
//! watch ──▶ cache ──▶ queue ──▶ reconcile: gather (read) ▶ decide (pure) ▶ apply (write)
//!   └─ enqueues dependents          ▲ requeued after a while, or after an error with backoff
//! ```
//!
//! Next: `watched.rs` for which change enqueues what, `runner.rs` for how an object is reconciled, then one of the controllers.

mod approval;
mod certificate;
mod chains;
mod challenge;
mod enqueue;
mod issuer;
mod order;
mod report;
mod request;
mod runner;
mod scope;
mod shim;
mod solver_endpoints;
mod tasks;
mod watched;
mod watches;

use std::time::Duration;

use tokio::time::timeout;

use self::runner::{Controller, RESYNC, run};
pub use self::{certificate::MAX_CONCURRENT_RENEWAL_INFO, watches::start};
use crate::context::Context;

/// Stores what the next process needs and is only in memory, after the controllers have stopped. Takes at most two seconds.
pub async fn hand_over(context: &Context) {
    if timeout(Duration::from_secs(2), order::store_urls(context)).await.is_err() {
        tracing::warn!("failed to store the URLs of all orders in time");
    }
}
