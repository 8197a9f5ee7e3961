//! The queue of a controller: which objects wait to be reconciled.

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::runtime::reflector::{Lookup, ObjectRef};

/// The objects that wait for a controller, in the order in which they were enqueued.
pub type Queue<K> = UnboundedReceiver<ObjectRef<K>>;

/// Puts objects into a controller's queue. Cheap to clone.
pub struct Enqueuer<K: Lookup<DynamicType = ()>>(UnboundedSender<ObjectRef<K>>);

impl<K: Lookup<DynamicType = ()>> Enqueuer<K> {
    /// Enqueues an object.
    pub fn enqueue(&self, object: &K) {
        // By name alone: a queue has no use for the UID and the resourceVersion, which a full reference carries.
        self.enqueue_named(&object.name().unwrap_or_default(), object.namespace().as_deref());
    }

    /// Enqueues the object with a name, whether or not it exists. A cluster-scoped object has no namespace.
    pub fn enqueue_named(&self, name: &str, namespace: Option<&str>) {
        let reference = ObjectRef::new(name);
        self.send(match namespace {
            Some(namespace) => reference.within(namespace),
            None => reference,
        });
    }

    fn send(&self, reference: ObjectRef<K>) {
        // The receiver is dropped only when the process ends.
        _ = self.0.unbounded_send(reference);
    }
}

/// A new queue and what fills it.
pub fn queue<K: Lookup<DynamicType = ()>>() -> (Enqueuer<K>, Queue<K>) {
    let (sender, receiver) = unbounded();
    (Enqueuer(sender), receiver)
}
