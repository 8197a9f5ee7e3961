//! Runs one controller: takes objects from its queue, reconciles each, and says when it is reconciled again.
//!
//! Knows errors and backoff; must not know what a reconcile does. Why this is kube-runtime's `applier` and not its `Controller`:
//! `docs/adr/0006-applier-not-controller.md`.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt::Debug,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Resource, ResourceExt,
    runtime::{
        Config, applier,
        controller::Action,
        reflector::{ObjectRef, Store},
    },
};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::{
    context::Context,
    decision::{Requeue, backoff},
    error::ReconcileError,
    k8s::Queue,
    metrics::Metrics,
    sync::lock,
};

/// How long a reconcile may take. Most of that is waiting for ACME servers.
const DEADLINE: Duration = Duration::from_mins(2);

/// The longest time between two reconciles of an object: it finds what a watch has missed.
pub(super) const RESYNC: Duration = Duration::from_hours(1);

/// How long to wait for the watch to report the operator's own last write.
const STALE_RETRY: Duration = Duration::from_secs(1);

/// How long to wait after a conflict. The change that caused it enqueues the object; this is for one that was reported before.
const CONFLICT_RETRY: Duration = Duration::from_millis(200);

/// A controller: what it is called, what it reads, and how many objects it reconciles at a time.
pub(super) struct Controller<K: Resource<DynamicType = ()> + Clone + 'static> {
    /// Its name in logs and metrics.
    pub(super) name: &'static str,
    /// The objects that it reconciles.
    pub(super) store: Store<K>,
    /// How many objects it reconciles at a time.
    pub(super) concurrency: u16,
    /// Counts reconciles and errors.
    pub(super) metrics: Metrics,
}

impl<K> Controller<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    /// Reconciles each object that is enqueued, never the same one twice at a time, until the queue ends.
    pub(super) async fn run<F>(
        self,
        queue: Queue<K>,
        context: Arc<Context>,
        reconcile: impl Fn(Arc<K>, Arc<Context>) -> F,
    ) where
        F: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
    {
        let Self { name, store, concurrency, metrics } = self;
        let attempts = Arc::new(Attempts::<K>(Mutex::default()));
        let reconcile = |object: Arc<K>, context: Arc<Context>| {
            let stale = context.kube.is_stale(&*object);
            let span = tracing::info_span!(
                "reconcile",
                controller = name,
                namespace = object.namespace().unwrap_or_default(),
                name = object.name_any(),
                generation = object.meta().generation,
            );
            let (attempts, metrics) = (Arc::clone(&attempts), metrics.clone());
            let reference = ObjectRef::from_obj(&*object);
            let work = reconcile(object, context);
            Box::pin(async move {
                if stale {
                    return Ok(Action::requeue(STALE_RETRY));
                }
                // A task of its own, because the applier polls all running reconciles whenever one of them makes progress.
                let work = tokio::spawn(timeout(DEADLINE, work).instrument(span.clone()));
                let outcome = match AbortOnDropHandle::new(work).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) => Err(ReconcileError::Deadline(DEADLINE)),
                    Err(error) => Err(ReconcileError::Internal(error.to_string())),
                };
                let conflict = outcome.as_ref().is_err_and(ReconcileError::is_conflict);
                metrics.record_reconcile(name, outcome.is_err() && !conflict);
                Ok::<_, Infallible>(span.in_scope(|| attempts.next(&reference, outcome)))
            })
        };
        let never_fails = |_, _: &Infallible, _| Action::await_change();
        let config = Config::default().concurrency(concurrency);
        let queue = queue.map(Ok::<_, Infallible>);
        let mut outcomes = Box::pin(applier(reconcile, never_fails, context, store, queue, config));
        while let Some(outcome) = outcomes.next().await {
            if let Err(error) = outcome {
                // The object was deleted while it was in the queue.
                tracing::trace!(controller = name, %error, "nothing to reconcile");
            }
        }
    }
}

/// How often each object has failed in a row.
struct Attempts<K: Resource<DynamicType = ()>>(Mutex<HashMap<ObjectRef<K>, u32>>);

impl<K> Attempts<K>
where
    K: Resource<DynamicType = ()> + Clone,
{
    /// When an object is reconciled again after an outcome.
    fn next(&self, reference: &ObjectRef<K>, outcome: Result<Requeue, ReconcileError>) -> Action {
        let mut attempts = lock(&self.0);
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
            tracing::debug!(error = error.chain(), "the object has changed, will retry");
            return Action::requeue(CONFLICT_RETRY);
        }
        if error.is_terminating() {
            tracing::debug!("the namespace is being deleted");
            return Action::requeue(RESYNC);
        }
        let attempt = attempts.entry(reference.clone()).or_default();
        let wait =
            error.retry_after().unwrap_or_else(|| backoff::after_error(*attempt, &reference.to_string()));
        *attempt = attempt.saturating_add(1);
        let (reason, retry_in_seconds) = (error.reason(), wait.as_secs_f64());
        if matches!(error, ReconcileError::Internal(_)) {
            tracing::error!(reason, error = error.chain(), retry_in_seconds, "failed to reconcile");
        } else {
            tracing::warn!(
                reason,
                error = error.chain(),
                retry_in_seconds,
                "failed to reconcile, will retry"
            );
        }
        Action::requeue(wait)
    }
}
