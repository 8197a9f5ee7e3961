//! One watch for each kind, which feeds a store and wakes whoever is concerned, deletions included.

use std::{fmt::Debug, pin::pin};

use futures::{
    Stream, StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        controller::ReconcileRequest,
        reflector::{Lookup, ObjectRef, store::Writer},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

use super::guarded::{Guarded, Unreadable};

/// Annotation that kubectl keeps a second copy of an object in.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How many objects are listed at once: each page is held several times over while it is read.
const PAGE: u32 = 100;

/// Where objects wait for their turn.
pub type Queue<K> = UnboundedReceiver<ReconcileRequest<K>>;

/// Puts objects into a queue.
pub struct Waker<K: Resource>(UnboundedSender<ReconcileRequest<K>>);

impl<K: Resource> Clone for Waker<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Waker<K>
where
    K: Resource<DynamicType = ()>,
{
    /// Wakes an object.
    pub fn wake(&self, object: &K) {
        self.wake_named(&object.name_any(), ResourceExt::namespace(object).as_deref());
    }

    /// Wakes an object by its name.
    pub fn wake_named(&self, name: &str, namespace: Option<&str>) {
        let mut reference = ObjectRef::new(name);
        if let Some(namespace) = namespace {
            reference = reference.within(namespace);
        }
        // A queue that is gone belongs to a process that ends.
        _ = self.0.unbounded_send(reference.into());
    }
}

/// A queue and its waker.
pub fn queue<K: Resource>() -> (Waker<K>, Queue<K>) {
    let (sender, receiver) = unbounded();
    (Waker(sender), receiver)
}

/// What was seen of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is one of a list that is not complete yet; the store does not know it, and nobody is to be woken.
    Listed,
    /// It is there or has changed, and the store knows it.
    Present,
    /// It is gone from the store.
    Gone,
}

/// Watches for ever, and tells of each object what was seen. `keep` makes an object small before it is kept. What can't be
/// read is left out, and holds up nothing else.
pub async fn watch<K>(
    api: Api<Guarded<K>>,
    config: watcher::Config,
    writer: Writer<K>,
    keep: impl Fn(&mut K),
    seen: impl Fn(&K, Seen),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = watcher::watcher(api, config.page_size(PAGE)).default_backoff();
    let kept = |guard| {
        let mut object = readable(guard)?;
        keep(&mut object);
        Some(object)
    };
    let events = events.filter_map(async |event| event.map(|event| each(event, kept)).transpose());
    follow(events, writer, seen).await;
}

/// The same, of metadata alone: for kinds whose content is nobody's to hold. `keep` makes of it what is kept.
pub async fn watch_metadata<K, S>(
    api: Api<PartialObjectMeta<K>>,
    config: watcher::Config,
    writer: Writer<S>,
    keep: impl Fn(&ObjectMeta) -> S,
    seen: impl Fn(&S, Seen),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    S: Lookup<DynamicType = ()> + Clone + 'static,
{
    let events = watcher::watcher(api, config.page_size(PAGE)).default_backoff();
    let kept = |object: PartialObjectMeta<K>| Some(keep(object.meta()));
    let events = events.filter_map(async |event| event.map(|event| each(event, kept)).transpose());
    follow(events, writer, seen).await;
}

async fn follow<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    mut writer: Writer<K>,
    seen: impl Fn(&K, Seen),
) where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "failed to watch, will retry");
                continue;
            }
        };
        // A list replaces what was known: what is gone since is told by its absence.
        let before = matches!(event, Event::InitDone).then(|| writer.as_reader().state());
        if let Event::InitApply(object) = &event {
            seen(object, Seen::Listed);
        }
        writer.apply_watcher_event(&event);
        match &event {
            Event::Apply(object) => seen(object, Seen::Present),
            Event::Delete(object) => seen(object, Seen::Gone),
            Event::InitDone => {
                let store = writer.as_reader();
                store.state().iter().for_each(|object| seen(object, Seen::Present));
                for object in before.into_iter().flatten() {
                    if store.get(&ObjectRef::from_obj(&*object)).is_none() {
                        seen(&object, Seen::Gone);
                    }
                }
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }
}

/// An event about what an object becomes; none if it becomes nothing.
fn each<A, B>(event: Event<A>, becomes: impl Fn(A) -> Option<B>) -> Option<Event<B>> {
    Some(match event {
        Event::Apply(object) => Event::Apply(becomes(object)?),
        Event::Delete(object) => Event::Delete(becomes(object)?),
        Event::InitApply(object) => Event::InitApply(becomes(object)?),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    })
}

/// An object that can be read, without what nobody needs.
fn readable<K: Resource>(guard: Guarded<K>) -> Option<K> {
    match guard.0 {
        Ok(mut object) => {
            trim(object.meta_mut());
            Some(object)
        }
        Err(Unreadable { metadata, error }) => {
            tracing::warn!(
                name = metadata.name,
                namespace = metadata.namespace,
                error,
                "left out an object that can't be read"
            );
            None
        }
    }
}

/// Takes away what is half of an object and of no use.
fn trim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}
