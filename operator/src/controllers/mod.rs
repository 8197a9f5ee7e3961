//! One controller for each kind: it reads the world, asks `decision` what to do, and does that.
//!
//! ```text
//! watch ──▶ store ──▶ queue ──▶ reconcile: gather (read) ▶ decide (pure) ▶ apply (write)
//!    └── wakes whoever is concerned        ▲ again after a while, or after an error with backoff
//! ```
//!
//! Here is what all of them share. Next: `watches.rs` for who is woken by what, then one of the controllers.

mod certificate;
mod challenge;
mod ingress;
mod issuer;
mod order;
mod request;
mod solver_endpoints;
mod watches;

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Resource, ResourceExt,
    runtime::{
        Config, applier,
        controller::{Action, ReconcileRequest},
        reflector::{ObjectRef, Store},
    },
};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

pub use self::{
    certificate::MAX_CONCURRENT_RECONCILES as MAX_CONCURRENT_CERTIFICATES,
    order::Memory as OrderMemory,
    watches::{Watches, start},
};
use crate::{
    context::{Context, DEADLINE},
    decision::{Requeue, backoff},
    error::ReconcileError,
    k8s::Queue,
};

/// The longest that nothing is looked at: what was missed is found then.
const RESYNC: Duration = Duration::from_hours(1);

/// How long an object is waited for that was written and not heard of.
const STALE: Duration = Duration::from_secs(1);

/// Runs a controller until its queue ends: `reconcile` is called for each object that was woken, never twice at once for
/// the same one, for `concurrency` at once.
async fn run<K, F>(
    name: &'static str,
    store: Store<K>,
    queue: Queue<K>,
    context: Arc<Context>,
    concurrency: u16,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    F: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
{
    let attempts = Arc::new(Attempts::<K>(Mutex::default()));
    let queue = queue.map(Ok::<ReconcileRequest<K>, std::convert::Infallible>);
    let config = Config::default().concurrency(concurrency);
    let reconcile = |object: Arc<K>, context: Arc<Context>| {
        let stale = context.is_stale(&*object);
        let span = tracing::info_span!(
            "reconcile",
            controller = name,
            namespace = object.namespace().unwrap_or_default(),
            name = object.name_any(),
            generation = object.meta().generation,
        );
        let attempts = Arc::clone(&attempts);
        let reference = ObjectRef::from_obj(&*object);
        let work = reconcile(object, Arc::clone(&context));
        let outcome = async move {
            if stale {
                // What was written wakes it; this is for a watch that is behind.
                return Ok(Action::requeue(STALE));
            }
            // A task of its own, as the stream below polls all that are under way whenever one of them goes on.
            let work = tokio::spawn(timeout(DEADLINE, work).instrument(span.clone()));
            let outcome = match AbortOnDropHandle::new(work).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(ReconcileError::Deadline(DEADLINE)),
                Err(error) => Err(ReconcileError::Internal(error.to_string())),
            };
            let conflict = outcome.as_ref().is_err_and(ReconcileError::is_conflict);
            context.metrics.synced(name, outcome.is_err() && !conflict);
            Ok::<_, std::convert::Infallible>(span.in_scope(|| attempts.next(&reference, outcome)))
        };
        Box::pin(outcome)
    };
    let unreachable = |_, _: &std::convert::Infallible, _| Action::await_change();
    let mut outcomes = Box::pin(applier(reconcile, unreachable, context, store, queue, config));
    while let Some(outcome) = outcomes.next().await {
        if let Err(error) = outcome {
            // An object that is gone by the time it has its turn.
            tracing::trace!(controller = name, %error, "nothing to reconcile");
        }
    }
}

/// How often each object failed in a row.
struct Attempts<K: Resource<DynamicType = ()>>(Mutex<HashMap<ObjectRef<K>, u32>>);

impl<K> Attempts<K>
where
    K: Resource<DynamicType = ()> + Clone,
{
    fn next(&self, reference: &ObjectRef<K>, outcome: Result<Requeue, ReconcileError>) -> Action {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let error = match outcome {
            Ok(next) => {
                attempts.remove(reference);
                return match next {
                    Requeue::After(wait) => Action::requeue(wait.min(RESYNC)),
                    Requeue::OnChange => Action::await_change(),
                    Requeue::Resync => Action::requeue(RESYNC),
                };
            }
            Err(error) => error,
        };
        if error.is_conflict() {
            // The change that was in the way wakes it; this is for one that had come before.
            tracing::debug!(error = error.chain(), "somebody else was quicker");
            return Action::requeue(Duration::from_millis(200));
        }
        if error.is_terminating() {
            tracing::debug!("the namespace is going");
            return Action::requeue(RESYNC);
        }
        let attempt = attempts.entry(reference.clone()).or_default();
        let wait =
            error.retry_after().unwrap_or_else(|| backoff::after_error(*attempt, &reference.to_string()));
        *attempt = attempt.saturating_add(1);
        let retry_in_seconds = wait.as_secs_f64();
        if matches!(error, ReconcileError::Internal(_)) {
            tracing::error!(reason = error.reason(), error = error.chain(), retry_in_seconds, "failed");
        } else {
            tracing::warn!(
                reason = error.reason(),
                error = error.chain(),
                retry_in_seconds,
                "failed, will retry"
            );
        }
        Action::requeue(wait)
    }
}
