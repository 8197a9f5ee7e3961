//! A kind that the operator watches: everything that belongs to it, in one value.

use std::sync::{Arc, Mutex};

use kube::runtime::reflector::{Lookup, ObjectRef, Store, store, store::Writer};

use crate::{
    k8s::{Enqueuer, Queue, queue},
    sync::lock,
};

/// A watched kind: its objects, the queue of its controller, and what feeds both.
///
/// Every controller reads and enqueues through the shared half. The watch and the controller each take their half once, when they start.
pub struct Kind<K: Lookup<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    enqueuer: Enqueuer<K>,
    writer: Mutex<Option<Writer<K>>>,
    queue: Mutex<Option<Queue<K>>>,
}

impl<K: Lookup<DynamicType = ()> + Clone + 'static> Default for Kind<K> {
    fn default() -> Self {
        let (store, writer) = store();
        let (enqueuer, queue) = queue();
        Self { store, enqueuer, writer: Mutex::new(Some(writer)), queue: Mutex::new(Some(queue)) }
    }
}

impl<K: Lookup<DynamicType = ()> + Clone + 'static> Kind<K> {
    /// The object with a name in a namespace.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// The cluster-scoped object with a name.
    pub fn get_cluster_scoped(&self, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name))
    }

    /// Every object, in no particular order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.state()
    }

    /// The objects that a condition selects, in no particular order.
    pub fn matching(&self, condition: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.store.state_filter(condition)
    }

    /// Whether a condition selects any object.
    pub fn any(&self, condition: impl Fn(&K) -> bool) -> bool {
        self.store.find(condition).is_some()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// What puts objects into the controller's queue.
    pub fn enqueuer(&self) -> &Enqueuer<K> {
        &self.enqueuer
    }

    /// Enqueues every object.
    pub fn enqueue_all(&self) {
        self.store.state().iter().for_each(|object| self.enqueuer.enqueue(object));
    }

    /// The read-only store, for what needs one of kube's own.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Waits until the first list is complete.
    pub async fn wait_until_listed(&self) {
        // The writer is dropped only when the process ends.
        _ = self.store.wait_until_ready().await;
    }

    /// The half of the watch: `None` after the first call.
    pub fn take_writer(&self) -> Option<Writer<K>> {
        lock(&self.writer).take()
    }

    /// The half of the controller: `None` after the first call.
    pub fn take_queue(&self) -> Option<Queue<K>> {
        lock(&self.queue).take()
    }
}
