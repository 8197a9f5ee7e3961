//! One watch per kind: it feeds a store and reports every change, deletions included.
//!
//! Knows how a list and a watch become a store; must not know which kinds there are or who depends on them. Next: `controllers/watches.rs`,
//! which says what is enqueued when an object changes.

use std::{fmt::Debug, time::Duration};

use futures::{Stream, StreamExt, future::ready};
use kube::{
    Api, Resource,
    api::{ObjectMeta, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::{Lookup, ObjectRef, Store, store::Writer},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

use super::{
    error_text,
    guarded::{Guarded, Unreadable},
    merge::merged,
};

/// The annotation in which kubectl keeps a second copy of an object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How many objects a list returns per page: several copies of a page are in memory while it is parsed.
const PAGE: u32 = 100;

/// How long a failed watch of an optional kind waits before it lists again.
const RELIST_AFTER: Duration = Duration::from_secs(1);

/// What a watch reports about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectEvent {
    /// It is part of a list that is still being read. The store does not have it yet, so nothing may be enqueued.
    Listed,
    /// It was created since the list, and the store has it.
    Created,
    /// It exists or has changed, and the store has it.
    Applied,
    /// It was deleted, and the store no longer has it.
    Deleted,
}

/// Whether the API server must know a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A kind without which the operator can't work: until it can be listed, nothing is reconciled.
    Required,
    /// A kind whose CRD may be installed or removed at any time. Without its CRD it has no objects; the watch retries with
    /// backoff and starts to serve it when the CRD appears.
    Optional,
}

/// Where a kind is watched.
pub struct Scope<K> {
    /// The namespace; empty if all are watched.
    pub namespace: String,
    /// The objects there.
    pub api: Api<K>,
}

/// A kind's watch, before it runs.
pub struct Watch<K: Lookup<DynamicType = ()> + Clone + 'static> {
    /// What it feeds.
    pub writer: Writer<K>,
    /// Which objects are watched.
    pub config: watcher::Config,
    /// Whether the kind may be missing.
    pub presence: Presence,
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Watches until the process ends. `shrink` drops what is not needed before an object is kept; `report` is called for every
    /// change. An object that can't be read is skipped and does not affect the others.
    pub async fn run(
        self,
        scopes: Vec<Scope<Guarded<K>>>,
        shrink: impl Fn(&mut K) + Sync,
        report: impl Fn(&K, ObjectEvent),
    ) {
        let store = self.writer.as_reader();
        let keep = |guard: Guarded<K>| {
            let mut object = readable(guard)?;
            shrink(&mut object);
            Some(object)
        };
        let config = self.config.page_size(PAGE);
        let watch = || {
            let watches = scopes.iter().map(|scope| {
                let events = watcher::watcher(scope.api.clone(), config.clone()).default_backoff();
                let events = events.filter_map(|event| {
                    let kept = event.map(|event| match unreadable(&event) {
                        Some(object) => {
                            object.warn();
                            // The version that could be read is not what exists any more.
                            known(&store, &object.metadata).map(Event::Delete)
                        }
                        None => map(event, keep),
                    });
                    ready(kept.transpose())
                });
                (scope.namespace.clone(), events.boxed())
            });
            merged(watches.collect(), store.clone())
        };
        drive(watch, self.writer, self.presence, report).await;
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
        let store = self.writer.as_reader();
        let keep = |object: PartialObjectMeta<K>| Some(keep(object.meta()));
        let config = self.config.page_size(PAGE);
        let watch = || {
            let watches = scopes.iter().map(|scope| {
                let events = watcher::watcher(scope.api.clone(), config.clone()).default_backoff();
                let events =
                    events.filter_map(|event| ready(event.map(|event| map(event, keep)).transpose()));
                (scope.namespace.clone(), events.boxed())
            });
            merged(watches.collect(), store.clone())
        };
        drive(watch, self.writer, self.presence, report).await;
    }
}

async fn drive<K, E>(
    watch: impl Fn() -> E,
    mut writer: Writer<K>,
    presence: Presence,
    report: impl Fn(&K, ObjectEvent),
) where
    K: Lookup<DynamicType = ()> + Clone + 'static,
    E: Stream<Item = watcher::Result<Event<K>>>,
{
    let mut absent = false;
    let mut events = Box::pin(watch());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                absent &= matches!(event, Event::Init);
                apply(&event, &mut writer, &report);
            }
            Err(error) if presence == Presence::Optional && is_unknown_kind(&error) => {
                if matches!(error, watcher::Error::WatchStartFailed(_)) {
                    // This may be temporary. A list says what there is; the old watch would never list again.
                    tokio::time::sleep(RELIST_AFTER).await;
                    events = Box::pin(watch());
                } else if !absent {
                    absent = true;
                    tracing::info!(kind = %K::kind(&()), "the API server does not know this kind, waiting for its CRD");
                    // No CRD means no objects: an empty list says so to the store and to those who wait for it.
                    apply(&Event::Init, &mut writer, &report);
                    apply(&Event::InitDone, &mut writer, &report);
                }
            }
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), error = error_text(&error), "failed to watch, will retry");
            }
        }
    }
}

fn apply<K>(event: &Event<K>, writer: &mut Writer<K>, report: &impl Fn(&K, ObjectEvent))
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    // A list replaces the store: what it no longer contains was deleted.
    let before = matches!(event, Event::InitDone).then(|| writer.as_reader().state());
    if let Event::InitApply(object) = event {
        report(object, ObjectEvent::Listed);
    }
    let known = match event {
        Event::Apply(object) => writer.as_reader().get(&ObjectRef::from_obj(object)).is_some(),
        _ => false,
    };
    writer.apply_watcher_event(event);
    match event {
        Event::Apply(object) if known => report(object, ObjectEvent::Applied),
        Event::Apply(object) => report(object, ObjectEvent::Created),
        Event::Delete(object) => report(object, ObjectEvent::Deleted),
        Event::InitDone => {
            let store = writer.as_reader();
            store.state().iter().for_each(|object| report(object, ObjectEvent::Applied));
            for object in before.into_iter().flatten() {
                if store.get(&ObjectRef::from_obj(&*object)).is_none() {
                    report(&object, ObjectEvent::Deleted);
                }
            }
        }
        Event::Init | Event::InitApply(_) => {}
    }
}

/// Whether the API server does not serve the kind: its CRD is not installed, or was removed.
fn is_unknown_kind(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    // By code: the body is plain text, for which kube makes up a reason that `is_not_found` doesn't know.
    matches!(error, kube::Error::Api(status) if status.code == 404)
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

/// The object of a change, if it can't be read.
fn unreadable<K>(event: &Event<Guarded<K>>) -> Option<&Unreadable> {
    match event {
        Event::Apply(Guarded(Err(object))) | Event::Delete(Guarded(Err(object))) => Some(object),
        _ => None,
    }
}

/// The version of an object that the store has.
fn known<K>(store: &Store<K>, metadata: &ObjectMeta) -> Option<K>
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    let reference = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
    let reference = match &metadata.namespace {
        Some(namespace) => reference.within(namespace),
        None => reference,
    };
    store.get(&reference).map(|object| (*object).clone())
}

/// The object, if it can be read, without the metadata that the operator does not use.
fn readable<K: Resource>(guard: Guarded<K>) -> Option<K> {
    match guard.0 {
        Ok(mut object) => {
            trim(object.meta_mut());
            Some(object)
        }
        Err(object) => {
            object.warn();
            None
        }
    }
}

/// Drops metadata that is often half of an object's size.
fn trim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque};

    use futures::{FutureExt, stream};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{ResourceExt, core::Status, runtime::reflector::store};

    use super::*;

    fn object(name: &str) -> ConfigMap {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn unknown_kind() -> kube::Error {
        let status = Status::failure("404 page not found", "Failed to parse error data");
        kube::Error::Api(Box::new(status.with_code(404)))
    }

    fn not_found() -> watcher::Error {
        watcher::Error::InitialListFailed(unknown_kind())
    }

    /// Drives a watch through events; returns what it reports, and whether the store is ready and what it holds.
    async fn driven(
        presence: Presence,
        events: Vec<watcher::Result<Event<ConfigMap>>>,
    ) -> (Vec<(String, ObjectEvent)>, bool, usize) {
        let (reader, writer) = store::<ConfigMap>();
        let reports = RefCell::new(Vec::new());
        let report = |object: &ConfigMap, event| reports.borrow_mut().push((object.name_any(), event));
        let events = RefCell::new(Some(events));
        drive(|| stream::iter(events.take().unwrap_or_default()), writer, presence, report).await;
        let ready = reader.wait_until_ready().now_or_never().is_some_and(|ready| ready.is_ok());
        (reports.into_inner(), ready, reader.len())
    }

    #[tokio::test]
    async fn list_reports_objects_that_are_gone() {
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitApply(object("a"))),
            Ok(Event::InitDone),
            Ok(Event::Apply(object("b"))),
            Ok(Event::Init),
            Ok(Event::InitApply(object("b"))),
            Ok(Event::InitDone),
        ];
        let (reports, ready, len) = driven(Presence::Required, events).await;
        assert!(ready && len == 1);
        assert_eq!(reports.last(), Some(&("a".to_owned(), ObjectEvent::Deleted)));
    }

    #[tokio::test]
    async fn missing_crd_blocks_only_required_kinds() {
        let (_, ready, _) = driven(Presence::Required, vec![Err(not_found()), Err(not_found())]).await;
        assert!(!ready, "a required kind that can't be listed is not known");
        let (_, ready, _) = driven(Presence::Optional, vec![Err(not_found()), Err(not_found())]).await;
        assert!(ready, "an optional kind without its CRD has no objects");
    }

    #[tokio::test]
    async fn removed_crd_deletes_its_objects_and_may_return() {
        let list = || vec![Ok(Event::Init), Ok(Event::InitApply(object("a"))), Ok(Event::InitDone)];
        let events = [list(), vec![Err(not_found()), Err(not_found())], list()].into_iter().flatten();
        let (reports, _, len) = driven(Presence::Optional, events.collect()).await;
        let events: Vec<_> = reports.iter().map(|(_, event)| *event).collect();
        let (listed, applied, deleted) = (ObjectEvent::Listed, ObjectEvent::Applied, ObjectEvent::Deleted);
        assert_eq!(events, [listed, applied, deleted, listed, applied]);
        assert_eq!(len, 1);
    }

    /// A watch that fails says nothing about the objects: they are listed again.
    #[tokio::test(start_paused = true)]
    async fn failed_watch_of_optional_kind_lists_again() {
        let list = |name| vec![Ok(Event::Init), Ok(Event::InitApply(object(name))), Ok(Event::InitDone)];
        let watches = RefCell::new(VecDeque::from([list("a"), list("b")]));
        watches.borrow_mut()[0].push(Err(watcher::Error::WatchStartFailed(unknown_kind())));
        let (reader, writer) = store::<ConfigMap>();
        let deleted = RefCell::new(Vec::new());
        let report = |object: &ConfigMap, event| {
            if event == ObjectEvent::Deleted {
                deleted.borrow_mut().push(object.name_any());
            }
        };
        let watch = || stream::iter(watches.borrow_mut().pop_front().unwrap_or_default());
        drive(watch, writer, Presence::Optional, report).await;
        assert_eq!((deleted.into_inner(), reader.len()), (vec!["a".to_owned()], 1));
    }
}
