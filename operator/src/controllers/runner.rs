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
    decision::{
        Requeue,
        retry::{self, Failure},
    },
    error::ReconcileError,
    k8s::Queue,
    metrics::Metrics,
    sync::lock,
};

/// How long a reconcile may take. Most of that is waiting for ACME servers.
const DEADLINE: Duration = Duration::from_mins(2);

/// The longest time between two reconciles of an object: it finds what a watch has missed.
pub(super) const RESYNC: Duration = Duration::from_hours(1);

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
        let known = store.clone();
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
            let work = reconcile(Arc::clone(&object), Arc::clone(&context));
            let store = known.clone();
            Box::pin(async move {
                if stale {
                    return Ok(action(retry::after(Failure::StaleRead, 0, "")));
                }
                // A task of its own, because the applier polls all running reconciles whenever one of them makes progress.
                let work = tokio::spawn(timeout(DEADLINE, work).instrument(span.clone()));
                let outcome = match AbortOnDropHandle::new(work).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) => Err(ReconcileError::Deadline(DEADLINE)),
                    Err(error) => Err(ReconcileError::Internal(error.to_string())),
                };
                let failed = outcome.as_ref().is_err_and(|error| error.failure() != Failure::Conflict);
                metrics.record_reconcile(name, failed);
                if store.get(&reference).is_none_or(|known| known.meta().uid != object.meta().uid) {
                    // It was deleted meanwhile, and what this reconcile remembers of it would stay.
                    context.forget(&*object);
                    attempts.forget(&reference);
                    return Ok(Action::await_change());
                }
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
    /// Forgets an object that was deleted.
    fn forget(&self, reference: &ObjectRef<K>) {
        lock(&self.0).remove(reference);
    }

    /// When an object is reconciled again after an outcome.
    fn next(&self, reference: &ObjectRef<K>, outcome: Result<Requeue, ReconcileError>) -> Action {
        let mut attempts = lock(&self.0);
        let error = match outcome {
            Ok(requeue) => {
                attempts.remove(reference);
                return action(requeue);
            }
            Err(error) => error,
        };
        let failure = error.failure();
        if !failure.is_error() {
            tracing::debug!(?failure, error = error.chain(), "failed to reconcile, will retry");
            return action(retry::after(failure, 0, ""));
        }
        let attempt = attempts.entry(reference.clone()).or_default();
        let requeue = retry::after(failure, *attempt, &reference.to_string());
        *attempt = attempt.saturating_add(1);
        let retry_in_seconds = match requeue {
            Requeue::After(wait) => wait.as_secs_f64(),
            Requeue::OnChange | Requeue::Resync => RESYNC.as_secs_f64(),
        };
        let (reason, error_chain) = (error.reason(), error.chain());
        if matches!(error, ReconcileError::Internal(_)) {
            tracing::error!(reason, error = error_chain, retry_in_seconds, "failed to reconcile, will retry");
        } else {
            tracing::warn!(reason, error = error_chain, retry_in_seconds, "failed to reconcile, will retry");
        }
        action(requeue)
    }
}

/// What kube-runtime calls a requeue.
fn action(requeue: Requeue) -> Action {
    match requeue {
        Requeue::After(wait) => Action::requeue(wait.min(RESYNC)),
        Requeue::OnChange => Action::await_change(),
        Requeue::Resync => Action::requeue(RESYNC),
    }
}
