//! Reports on an object why its reconcile fails, until one succeeds.
//!
//! Knows when a problem is new, the same, or solved. Must not know what failed. Next: `decision/problem.rs` for the words, and the
//! controllers' `impl Reports` for where each kind of object has room for them.

use kube::Resource;

use crate::{
    context::Context,
    decision::{problem, problem::Problem, retry::Failure},
    error::ReconcileError,
    objects::{EventNote, metadata::Identity},
};

/// A kind whose objects say why they can't be reconciled.
pub(super) trait Reports: Resource<DynamicType = ()> + Send + Sync + Sized {
    /// The reporter of its events, as in cert-manager.
    const MANAGER: &'static str;

    /// Writes to the status, if the kind has room for it there, that a problem exists, or that it is solved.
    fn write(
        &self,
        report: Report<'_>,
        context: &Context,
    ) -> impl Future<Output = Result<(), ReconcileError>> + Send;

    /// Publishes a Warning about the object.
    fn warn(&self, note: &EventNote, context: &Context) {
        context.kube.publish(Self::MANAGER, note, self);
    }
}

/// What has to be written to a status.
#[derive(Clone, Copy, Debug)]
pub(super) enum Report<'a> {
    /// The last reconcile failed.
    Problem(&'a Problem),
    /// It succeeded, and the one before had failed.
    Solved(&'a Problem),
}

/// Reports that a reconcile failed: in the status each time, and as an event if the cause is new.
pub(super) async fn problem<K: Reports>(object: &K, new: Problem, context: &Context) {
    let uid = object.uid_or_empty();
    let is_same = |old: &Problem| problem::cause(&old.message) == problem::cause(&new.message);
    if !context.memory.problems.get(uid).as_ref().is_some_and(is_same) {
        object.warn(&EventNote::warning(new.reason, &*new.message), context);
    }
    context.memory.problems.put(uid.to_owned(), new.clone());
    write(object, Report::Problem(&new), context).await;
}

/// Reports that a reconcile succeeded. Returns whether the one before had failed: then the object is reconciled again, so that
/// its status is decided without the problem.
pub(super) async fn success<K: Reports>(object: &K, context: &Context) -> bool {
    let Some(old) = context.memory.problems.forget(object.uid_or_empty()) else { return false };
    write(object, Report::Solved(&old), context).await;
    true
}

async fn write<K: Reports>(object: &K, report: Report<'_>, context: &Context) {
    let Err(error) = object.write(report, context).await else { return };
    // It may be solved by the time of the next reconcile, which reports it otherwise.
    context.kube.discard_unwritten_status(object.uid_or_empty());
    // A conflict is normal: the reconcile has just written the status itself.
    if error.failure() != Failure::Conflict {
        tracing::debug!(error = error.chain(), "failed to report a problem");
    }
}
