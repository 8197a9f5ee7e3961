//! One watch per kind: it feeds a store and reports every change, deletions included.
//!
//! Knows how a list and a watch become a store; must not know which kinds there are or who depends on them. Next: `controllers/watches.rs`,
//! which says what is enqueued when an object changes.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future::ready};
use kube::{
    Api, Resource,
    api::{ObjectMeta, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::Lookup,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

use super::{
    Definition, error_text,
    guarded::{Guarded, Shrink},
    merge::merged,
};
use crate::cache::{Change, Store, Writer};

/// How many objects a list returns per page: several copies of a page are in memory while it is parsed.
const PAGE: u32 = 100;

/// How long a failed watch of an optional kind waits before it lists again.
const RELIST_AFTER: Duration = Duration::from_secs(1);

/// What a watch reports about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectEvent {
    /// It is part of the first list, which is still being read, so nothing may be enqueued.
    Listed,
    /// It was created since the first list, and the store has it.
    Created,
    /// This is the version before the one that is reported next.
    Replaced,
    /// It has changed, and the store has it.
    Applied,
    /// It has an earlier version again, because the cluster's data were restored from a backup. The store has it.
    RolledBack,
    /// It was deleted, and the store no longer has it.
    Deleted,
}

/// Whether the API server must know a kind.
#[derive(Clone, Debug)]
pub enum Presence {
    /// A kind without which the operator can't work: until it can be listed, nothing is reconciled.
    Required,
    /// A kind whose CRD may be installed or removed at any time. Without its CRD it has no objects, and is not watched.
    Optional(Definition),
}

/// Where a kind is watched.
pub struct Scope<K> {
    /// The namespace; empty if all are watched.
    pub namespace: String,
    /// The objects there.
    pub api: Api<K>,
}

/// A kind's watch, before it runs.
pub struct Watch<K> {
    /// What it feeds.
    pub writer: Writer<K>,
    /// Which objects are watched.
    pub config: watcher::Config,
    /// Whether the kind may be missing.
    pub presence: Presence,
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Shrink + Send + Sync + 'static,
{
    /// Watches until the process ends. `keep` takes away what the store does not need, `skip` is called for an object that can't be
    /// read, and `report` for every change. An object that can't be read does not affect the others.
    pub async fn run(
        self,
        scopes: Vec<Scope<Guarded<K>>>,
        keep: impl Fn(&mut K) + Sync,
        skip: impl Fn(&Guarded<K>) + Sync,
        report: impl Fn(&K, ObjectEvent),
    ) {
        let store = self.writer.store().clone();
        let watch = |listing| {
            let config = configured(&self.config, listing);
            let watches = scopes.iter().map(|scope| {
                let events = watcher::watcher(scope.api.clone(), config.clone()).default_backoff();
                let events = events.filter_map(|event| {
                    ready(event.map(|event| readable(event, &store, &keep, &skip)).transpose())
                });
                (scope.namespace.clone(), events.boxed())
            });
            merged(watches.collect(), store.clone())
        };
        drive_present(watch, self.writer, &self.presence, report).await;
    }
}

impl<S> Watch<S>
where
    S: Lookup<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    /// The same for the metadata of a kind `K` whose content must not be held in memory. `keep` makes what is kept of it.
    pub async fn run_metadata<K>(
        self,
        scopes: Vec<Scope<PartialObjectMeta<K>>>,
        keep: impl Fn(&ObjectMeta) -> S + Sync,
        report: impl Fn(&S, ObjectEvent),
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let store = self.writer.store().clone();
        let keep = |object: PartialObjectMeta<K>| Some(keep(object.meta()));
        let watch = |listing| {
            let config = configured(&self.config, listing);
            let watches = scopes.iter().map(|scope| {
                let events = watcher::watcher(scope.api.clone(), config.clone()).default_backoff();
                let events =
                    events.filter_map(|event| ready(event.map(|event| map(event, keep)).transpose()));
                (scope.namespace.clone(), events.boxed())
            });
            merged(watches.collect(), store.clone())
        };
        drive_present(watch, self.writer, &self.presence, report).await;
    }
}

/// How a watch learns which objects there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// The watch begins with them. API servers take this from memory, and lists often from etcd, which costs them three times as much.
    Streamed,
    /// A list precedes the watch: in Kubernetes before 1.32 and in 1.33, and where an administrator has turned streams off.
    Pages,
}

fn configured(config: &watcher::Config, listing: Listing) -> watcher::Config {
    match listing {
        Listing::Streamed => config.clone().streaming_lists(),
        Listing::Pages => config.clone().page_size(PAGE),
    }
}

/// Drives a watch while its kind exists.
async fn drive_present<K, E>(
    watch: impl Fn(Listing) -> E,
    mut writer: Writer<K>,
    presence: &Presence,
    report: impl Fn(&K, ObjectEvent),
) where
    K: Lookup<DynamicType = ()>,
    E: Stream<Item = watcher::Result<Event<K>>>,
{
    let Presence::Optional(definition) = presence else {
        return drive(&watch, &mut writer, false, &report).await;
    };
    loop {
        if definition.is_installed().await {
            tokio::select! {
                biased;
                () = drive(&watch, &mut writer, true, &report) => return,
                () = definition.removed() => {}
            }
        }
        tracing::info!(kind = %K::kind(&()), "the API server does not know this kind, waiting for its CRD");
        clear(&mut writer, &report);
        definition.installed().await;
    }
}

/// Removes all objects. An empty list says that to the store and to those who wait for it.
fn clear<K: Lookup<DynamicType = ()>>(writer: &mut Writer<K>, report: &impl Fn(&K, ObjectEvent)) {
    apply(Event::Init, writer, report);
    apply(Event::InitDone, writer, report);
}

/// Drives a watch. A kind that is optional may be unknown for a moment after its CRD was created, or in the version that is watched.
async fn drive<K, E>(
    watch: &impl Fn(Listing) -> E,
    writer: &mut Writer<K>,
    is_optional: bool,
    report: &impl Fn(&K, ObjectEvent),
) where
    K: Lookup<DynamicType = ()>,
    E: Stream<Item = watcher::Result<Event<K>>>,
{
    let mut absent = false;
    let mut listing = Listing::Streamed;
    let mut events = Box::pin(watch(listing));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                absent &= matches!(event, Event::Init);
                apply(event, writer, report);
            }
            Err(error) if listing == Listing::Streamed && is_refused(&error) => {
                tracing::debug!(kind = %K::kind(&()), "the API server does not stream lists, will list in pages");
                listing = Listing::Pages;
                events = Box::pin(watch(listing));
            }
            Err(error) if is_optional && is_unavailable(&error) => {
                if matches!(error, watcher::Error::WatchStartFailed(_)) {
                    // This may be temporary. A list says what there is; the old watch would never list again.
                    tokio::time::sleep(RELIST_AFTER).await;
                    listing = Listing::Pages;
                    events = Box::pin(watch(listing));
                } else if !absent {
                    absent = true;
                    tracing::info!(
                        kind = %K::kind(&()),
                        error = error_text(&error),
                        "can't list the objects of this optional kind, will retry"
                    );
                    clear(writer, report);
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), error = error_text(&error), "failed to watch, will retry");
            }
        }
    }
}

/// Takes an event, and reports what it changes.
pub(super) fn apply<K: Lookup<DynamicType = ()>>(
    event: Event<K>,
    writer: &mut Writer<K>,
    report: &impl Fn(&K, ObjectEvent),
) {
    match event {
        Event::Init => writer.begin_list(),
        Event::InitApply(object) | Event::Apply(object) => put(object, writer, report),
        Event::Delete(object) => {
            // The indexes know the version that the store had.
            let known = writer.remove(&object);
            report(known.as_deref().unwrap_or(&object), ObjectEvent::Deleted);
        }
        // What the list does not contain was deleted.
        Event::InitDone => writer.end_list().iter().for_each(|object| report(object, ObjectEvent::Deleted)),
    }
}

/// Stores an object, and reports it unless the store had this version: after a list, few objects have changed.
fn put<K: Lookup<DynamicType = ()>>(object: K, writer: &mut Writer<K>, report: &impl Fn(&K, ObjectEvent)) {
    let object = Arc::new(object);
    let event = match writer.put(&object) {
        Change::Same => return,
        Change::Created if writer.is_listed() => ObjectEvent::Created,
        Change::Created => ObjectEvent::Listed,
        // It was deleted, and another was created under its name.
        Change::Updated(old) if old.uid() != object.uid() => {
            report(&old, ObjectEvent::Deleted);
            ObjectEvent::Created
        }
        Change::Updated(old) => {
            report(&old, ObjectEvent::Replaced);
            ObjectEvent::Applied
        }
        Change::RolledBack(old) => {
            report(&old, ObjectEvent::Replaced);
            ObjectEvent::RolledBack
        }
    };
    report(&object, event);
}

/// Whether the API server does not know a parameter of the watch, or does not accept it.
fn is_refused(error: &watcher::Error) -> bool {
    let watcher::Error::WatchStartFailed(kube::Error::Api(status)) = error else { return false };
    [400, 422].contains(&status.code)
}

/// Whether the API server does not serve the kind, because its CRD is not installed or was removed, or not to the operator. Neither may
/// keep other kinds from being served.
fn is_unavailable(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    // By code: the body is plain text, for which kube makes up a reason that `is_not_found` doesn't know.
    matches!(error, kube::Error::Api(status) if [401, 403, 404].contains(&status.code))
}

/// Maps the object of an event; `None` if the object is dropped.
fn map<A, B>(event: Event<A>, keep: impl Fn(A) -> Option<B>) -> Option<Event<B>> {
    Some(match event {
        Event::Apply(object) => Event::Apply(keep(object)?),
        Event::Delete(object) => Event::Delete(keep(object)?),
        Event::InitApply(object) => Event::InitApply(keep(object)?),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    })
}

/// The event with an object that can be read. For one that can't, the version that could be read is not what exists any more.
fn readable<K>(
    event: Event<Guarded<K>>,
    store: &Store<K>,
    keep: impl Fn(&mut K),
    skip: impl Fn(&Guarded<K>),
) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let is_change = matches!(event, Event::Apply(_) | Event::Delete(_));
    if let Event::Apply(object) | Event::Delete(object) | Event::InitApply(object) = &event
        && let Guarded(Err(unreadable)) = object
    {
        unreadable.warn();
        skip(object);
        let ObjectMeta { name, namespace, .. } = &unreadable.metadata;
        let name = name.as_deref().unwrap_or_default();
        let known = store.named(namespace.as_deref().unwrap_or_default(), name).filter(|_| is_change);
        return known.map(|object| Event::Delete((*object).clone()));
    }
    map(event, |guard| {
        let mut object = guard.0.ok()?;
        keep(&mut object);
        Some(object)
    })
}

#[cfg(test)]
mod tests;
