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
    run_with(&Attempts(Mutex::default()), &controller, queue, reconcile).await;
}

async fn run_with<K, F>(
    attempts: &Attempts<K>,
    controller: &Controller<K>,
    queue: Queue<K>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F,
) where
    K: Reports + 'static,
    F: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
{
    let begin = |reference: &Arc<ObjectRef<K>>| {
        let Some(object) = controller.store.get(reference) else {
            // It was deleted while it was in the queue.
            attempts.forget(reference);
            return None;
        };
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
        // What is packed has nothing to do at a server.
        let server =
            K::SERVER.and_then(|server| server(&*self.store.unpacked(reference)?, &self.context.cache));
        Lane { namespace: reference.namespace.clone().unwrap_or_default(), server }
    }

    /// Reconciles an object and reports problems. Returns when to do so again.
    async fn reconcile(
        &self,
        object: Arc<K>,
        work: impl Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
        attempts: &Attempts<K>,
    ) -> Requeue {
        let Self { name, store: _, metrics, context, slots: _ } = self;
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
        if self.has_forgotten(&*object, &reference, attempts) {
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
        let requeue = requeue.instrument(span).await;
        // It may have been deleted while its status was written.
        if self.has_forgotten(&*object, &reference, attempts) { Requeue::OnChange } else { requeue }
    }

    /// Forgets an object that was deleted during its reconcile: what that remembers of it would stay.
    fn has_forgotten(&self, object: &K, reference: &ObjectRef<K>, attempts: &Attempts<K>) -> bool {
        if self.store.contains(object) {
            return false;
        }
        self.context.forget(object);
        attempts.forget(reference);
        true
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
                let last = all.get(reference).and_then(|failures| failures.last.as_ref());
                // One that waits for its next attempt has succeeded in nothing. At that time, it ends or is forgotten.
                if let Some(until) = last.map(|last| last.until).filter(|until| *until > now) {
                    return Next::Succeeded(requeue.earliest(Requeue::at(until, now)));
                }
                all.remove(reference);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures::future::ready;
    use k8s_openapi::api::core::v1::Service;
    use kube::{Client, Config};

    use super::*;
    use crate::{cache::Writer, net::Proxy};

    fn context() -> Arc<Context> {
        // Where nothing listens: what is under test sends no request that has to succeed.
        let config = Config::new("http://127.0.0.1:1".parse().expect("a URL"));
        let client = Client::try_from(config).expect("a client");
        Context::for_test(client, Proxy::default())
    }

    fn halves(context: &Context) -> (Writer<Service>, Queue<Service>) {
        let services = &context.cache.services;
        (services.take_writer().expect("the first call"), services.take_queue().expect("the first call"))
    }

    fn service(name: &str) -> Arc<Service> {
        let mut service = Service::default();
        (service.metadata.namespace, service.metadata.name) = (Some("a".into()), Some(name.into()));
        service.metadata.uid = Some(format!("uid of {name}"));
        Arc::new(service)
    }

    fn controller(context: &Arc<Context>) -> Controller<Service> {
        Controller {
            name: "services",
            store: context.cache.services.store(),
            slots: Slots::few(8),
            metrics: Metrics::default(),
            context: Arc::clone(context),
        }
    }

    async fn until(condition: impl Fn() -> bool) {
        for _ in 0..10_000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never is");
    }

    /// Tenants create and delete objects that fail as often as they like.
    #[tokio::test(start_paused = true)]
    async fn failures_of_deleted_objects_are_forgotten() {
        let context = context();
        let (mut writer, queue) = halves(&context);
        let (controller, attempts) = (controller(&context), Attempts(Mutex::default()));
        let known = || lock(&attempts.0).len();
        let fail = |_, _| ready(Err(ReconcileError::Internal("for the test".to_owned())));
        let test = async {
            for number in 0..100 {
                let service = service(&number.to_string());
                writer.put(&service);
                context.cache.services.enqueuer().enqueue_named(&number.to_string(), Some("a"));
            }
            until(|| known() == 100).await;
            for number in 0..100 {
                writer.remove(&service(&number.to_string()));
            }
            // They are found to be gone when they are retried.
            until(|| known() == 0).await;
        };
        tokio::select! {
            () = run_with(&attempts, &controller, queue, fail) => panic!("the queue has ended"),
            () = test => {}
        }
    }

    /// What its reconcile remembers would stay, because the watch has reported the deletion already.
    #[tokio::test(start_paused = true)]
    async fn object_deleted_during_its_reconcile_is_forgotten() {
        let context = context();
        let (mut writer, queue) = halves(&context);
        let (controller, attempts) = (controller(&context), Attempts(Mutex::default()));
        let (begun, may_end, ended) =
            (&AtomicUsize::new(0), Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let uid = "uid of web";
        let reconcile = |_, context: Arc<Context>| {
            begun.fetch_add(1, Ordering::SeqCst);
            let (may_end, ended) = (Arc::clone(&may_end), Arc::clone(&ended));
            async move {
                while !may_end.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                context.memory.notes.put(uid.to_owned(), Vec::new());
                ended.store(true, Ordering::SeqCst);
                Err(ReconcileError::Internal("for the test".to_owned()))
            }
        };
        let test = async {
            writer.put(&service("web"));
            context.cache.services.enqueuer().enqueue_named("web", Some("a"));
            until(|| begun.load(Ordering::SeqCst) == 1).await;
            writer.remove(&service("web"));
            context.forget(&*service("web"));
            may_end.store(true, Ordering::SeqCst);
            until(|| ended.load(Ordering::SeqCst)).await;
            until(|| context.memory.notes.get(uid).is_none()).await;
        };
        tokio::select! {
            () = run_with(&attempts, &controller, queue, reconcile) => panic!("the queue has ended"),
            () = test => {}
        }
        assert!(lock(&attempts.0).is_empty());
    }

    /// A success before the next attempt does not count, so nothing else would find that the failures are over.
    #[test]
    fn failures_end_at_the_next_attempt() {
        let attempts = Attempts::<Service>(Mutex::default());
        let reference = ObjectRef::from_obj(&*service("web"));
        let now = "2026-01-01T00:00:00Z".parse().expect("a time");
        let failed = Err(ReconcileError::Internal("for the test".to_owned()));
        let Next::Failed { requeue: Requeue::After(wait), .. } = attempts.next(&reference, failed, now)
        else {
            panic!("it is a failure")
        };
        let early = attempts.next(&reference, Ok(Requeue::OnChange), now);
        assert!(matches!(early, Next::Succeeded(Requeue::After(left)) if left == wait));
        let due = limits::later(now, wait);
        let ended = attempts.next(&reference, Ok(Requeue::OnChange), due);
        assert!(matches!(ended, Next::Succeeded(Requeue::OnChange)));
        assert!(lock(&attempts.0).is_empty());
    }
}
