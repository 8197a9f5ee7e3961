//! Reports on an object why its reconcile fails, until one succeeds.
//!
//! Knows when a problem is new, the same, or solved. Must not know what failed. Next: `decision/problem.rs` for the words, and the
//! controllers' `impl Reports` for where each kind of object has room for them.

use std::fmt::Debug;

use jiff::Timestamp;
use kube::{Api, Resource, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    cache::Cache,
    context::Context,
    decision::{problem, problem::Problem, retry::Failure},
    objects::{EventNote, metadata::Identity},
};

/// What the reconcile of an object may wait for, if it may wait for something that others don't need: the URL of an ACME server, or the
/// generation of large keys.
pub(super) type ServerOf<K> = fn(&K, &Cache) -> Option<String>;

/// A kind whose objects say why they can't be reconciled.
pub(super) trait Reports:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + Sized
{
    /// The reporter of its events and the field manager of its status, as in cert-manager.
    const MANAGER: &'static str;

    /// How to find what its reconcile may wait for. `None` for a kind whose reconciles wait for nothing but the API server.
    const SERVER: Option<ServerOf<Self>> = None;

    /// Its status; `()` if the operator does not write that.
    type Status: Serialize + Send + Sync;

    /// The objects of this kind beside this one.
    fn api(&self, context: &Context) -> Api<Self>;

    /// The status as it is.
    fn status(&self) -> Option<&Self::Status>;

    /// The status with a problem, or without one that is solved. `None` if there is nothing to write.
    fn reported(&self, report: Report<'_>, now: Timestamp) -> Option<Self::Status>;

    /// Publishes a Warning about the object.
    fn warn(&self, note: &EventNote, context: &Context) {
        context.kube.publish(Self::MANAGER, note, self, context.now());
    }
}

/// A kind whose status belongs to others, so its objects are reported on by events only.
pub(super) trait EventsOnly:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The reporter of its events, as in cert-manager.
    const MANAGER: &'static str;
}

impl<K: EventsOnly> Reports for K {
    const MANAGER: &'static str = <K as EventsOnly>::MANAGER;

    type Status = ();

    fn api(&self, context: &Context) -> Api<Self> {
        context.kube.api(self.namespace_or_empty())
    }

    fn status(&self) -> Option<&Self::Status> {
        None
    }

    fn reported(&self, _: Report<'_>, _: Timestamp) -> Option<Self::Status> {
        None
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
    let Some(status) = object.reported(report, context.now()) else { return };
    let (api, old) = (object.api(context), object.status());
    let written = context.kube.write_status(&api, K::MANAGER, object, old, &status).await;
    let Err(error) = written else { return };
    // It may be solved by the time of the next reconcile, which reports it otherwise.
    context.kube.discard_unwritten_status(object.uid_or_empty());
    // A conflict is normal: the reconcile has just written the status itself.
    if error.failure() != Failure::Conflict {
        tracing::debug!(error = error.chain(), "failed to report a problem");
    }
}
