//! Runs one controller: takes objects from its queue, reconciles each, and says when it is reconciled again.
//!
//! Knows errors and backoff; must not know what a reconcile does. Next: `k8s/work_queue.rs` for the order. Why this is not kube-runtime's
//! `Controller`: `docs/adr/0006-own-queues.md`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::report::{self, Reports};
use crate::{
    cache::Store,
    context::Context,
    decision::{
        Requeue,
        fair_queue::{Lane, Slots},
        limits,
        problem::{self, Problem},
        retry::{self, Failure},
    },
    error::ReconcileError,
    k8s::{Queue, dispatch},
    metrics::Metrics,
    sync::lock,
    watchdog,
};

/// How long a reconcile may take. Most of that is waiting for ACME servers.
pub(super) const DEADLINE: Duration = Duration::from_mins(2);

/// The longest time between two reconciles of an object: it finds what a watch has missed.
pub(super) const RESYNC: Duration = Duration::from_hours(1);

/// A controller: what it is called, what it reads, and how many objects it reconciles at a time.
pub(super) struct Controller<K: Resource<DynamicType = ()> + Clone + 'static> {
    /// Its name in logs and metrics.
    pub(super) name: &'static str,
    /// The objects that it reconciles.
    pub(super) store: Store<K>,
    /// How many objects it reconciles at a time.
    pub(super) slots: Slots,
    /// Counts reconciles and errors.
    pub(super) metrics: Metrics,
    /// What every reconcile gets.
    pub(super) context: Arc<Context>,
}

/// Runs the controller: reconciles each object that is enqueued, never the same one twice at a time, until the queue ends.
pub(super) async fn run<K, F>(
    controller: Controller<K>,
    queue: Queue<K>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Reports + 'static,
    F: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
{
    let controller = &controller;
    let attempts = &Attempts::<K>(Mutex::default());
    let begin = |reference: &Arc<ObjectRef<K>>| {
        // `None` if it was deleted while it was in the queue.
        let object = controller.store.get(reference)?;
        let begun = reconcile(Arc::clone(&object), Arc::clone(&controller.context));
        let reconciled = controller.reconcile(object, begun, attempts);
        let reference = Arc::clone(reference);
        Some(async move {
            let wait = reconciled.await.wait(RESYNC, &reference.name);
            wait.map(|wait| Instant::now() + wait)
        })
    };
    dispatch(queue.map(Arc::new), controller.slots, |reference| controller.lane(reference), begin).await;
}

impl<K> Controller<K>
where
    K: Reports + 'static,
{
    /// For whom and at which server an object is reconciled.
    fn lane(&self, reference: &ObjectRef<K>) -> Lane {
        // Not every kind: getting an object from the cache may mean to unpack it.
        let server = K::SERVER.and_then(|server| server(&*self.store.get(reference)?, &self.context.cache));
        Lane { namespace: reference.namespace.clone().unwrap_or_default(), server }
    }

    /// Reconciles an object and reports problems. Returns when to do so again.
    async fn reconcile(
        &self,
        object: Arc<K>,
        work: impl Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
        attempts: &Attempts<K>,
    ) -> Requeue {
        let Self { name, store, metrics, context, slots: _ } = self;
        if context.kube.is_stale(&*object) {
            return retry::after(Failure::StaleRead, 0, "");
        }
        let span = tracing::info_span!(
            "reconcile",
            controller = name,
            namespace = object.namespace().unwrap_or_default(),
            name = object.name_any(),
            generation = object.meta().generation,
        );
        let reference = ObjectRef::from_obj(&*object);
        let work = watchdog::attributed(reference.to_string().into(), work);
        // A task of its own, so that a panic ends nothing else.
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
            return Requeue::OnChange;
        }
        let next = span.in_scope(|| attempts.next(&reference, outcome, context.now()));
        let requeue = async {
            match next {
                Next::Succeeded(_) if report::success(&*object, context).await => {
                    Requeue::After(Duration::ZERO)
                }
                Next::Failed { requeue, problem } => {
                    report::problem(&*object, problem, context).await;
                    requeue
                }
                Next::Succeeded(requeue) | Next::Retry(requeue) => requeue,
            }
        };
        requeue.instrument(span).await
    }
}

/// What comes after a reconcile.
enum Next {
    /// It succeeded.
    Succeeded(Requeue),
    /// It failed, which needs no report: a conflict, or something that a decision has reported.
    Retry(Requeue),
    /// It failed, which is reported.
    Failed { requeue: Requeue, problem: Problem },
}

/// The failures of each object in a row.
struct Attempts<K: Resource<DynamicType = ()>>(Mutex<HashMap<ObjectRef<K>, Failures>>);

/// The failures of one object since it was last reconciled with success.
#[derive(Default)]
struct Failures {
    conflicts: u32,
    attempts: u32,
    last: Option<LastFailure>,
}

/// A failure that has been announced.
struct LastFailure {
    cause: String,
    /// When it was announced.
    announced: Timestamp,
    /// Until when it is not retried unless something enqueues the object.
    until: Timestamp,
    /// How long that was when it was announced.
    wait: Duration,
}

impl<K> Attempts<K>
where
    K: Resource<DynamicType = ()> + Clone,
{
    /// Forgets an object that was deleted.
    fn forget(&self, reference: &ObjectRef<K>) {
        lock(&self.0).remove(reference);
    }

    /// What comes after an outcome.
    fn next(
        &self,
        reference: &ObjectRef<K>,
        outcome: Result<Requeue, ReconcileError>,
        now: Timestamp,
    ) -> Next {
        let mut all = lock(&self.0);
        let error = match outcome {
            Ok(requeue) => {
                // One that waits for its next attempt has succeeded in nothing.
                if all.get(reference).is_some_and(|it| it.last.as_ref().is_none_or(|last| last.until <= now))
                {
                    all.remove(reference);
                }
                return Next::Succeeded(requeue);
            }
            Err(error) => error,
        };
        let failures = all.entry(reference.clone()).or_default();
        let failure = error.failure().after_conflicts(failures.conflicts);
        if !failure.is_error() {
            failures.conflicts = failures.conflicts.saturating_add(1);
            tracing::debug!(?failure, error = error.chain(), "failed to reconcile, will retry");
            return Next::Retry(retry::after(failure, 0, ""));
        }
        let (reason, cause) = (error.reason(), error.chain());
        let is_similar = |last: &LastFailure| problem::masked(&last.cause) == problem::masked(&cause);
        let may_be_followed =
            |last: &LastFailure| limits::later(last.announced, problem::ANNOUNCED_FOR) <= now;
        let last = failures.last.take().filter(|last| is_similar(last) || !may_be_followed(last));
        let is_same = last.is_some();
        let announced = match last {
            // Something has enqueued the object early, for example the report in its own status. What was announced stays.
            Some(last) if last.until > now => last,
            last => {
                let requeue = retry::after(failure, failures.attempts, &reference.to_string());
                failures.attempts = failures.attempts.saturating_add(1);
                let wait = match requeue {
                    Requeue::After(wait) => wait.min(RESYNC),
                    Requeue::OnChange | Requeue::Resync => RESYNC,
                };
                let cause = last.map_or_else(|| cause.clone(), |last| last.cause);
                LastFailure { cause, announced: now, until: limits::later(now, wait), wait }
            }
        };
        let (requeue, retry_in_seconds) = (Requeue::at(announced.until, now), announced.wait.as_secs_f64());
        let problem = Problem::new(reason, &announced.cause, announced.wait, announced.until);
        failures.last = Some(announced);
        // Once for each cause: retries would fill the log.
        if is_same {
            tracing::debug!(
                reason = reason.as_str(),
                error = cause,
                retry_in_seconds,
                "failed to reconcile, will retry"
            );
        } else if matches!(error, ReconcileError::Internal(_)) {
            tracing::error!(
                reason = reason.as_str(),
                error = cause,
                retry_in_seconds,
                "failed to reconcile, will retry"
            );
        } else {
            tracing::warn!(
                reason = reason.as_str(),
                error = cause,
                retry_in_seconds,
                "failed to reconcile, will retry"
            );
        }
        // A decision has reported it already.
        if matches!(error, ReconcileError::AcmeRetry { .. }) {
            return Next::Retry(requeue);
        }
        Next::Failed { requeue, problem }
    }
}
