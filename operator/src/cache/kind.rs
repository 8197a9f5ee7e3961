//! A kind that the operator watches: everything that belongs to it, in one value.

use std::sync::{Arc, Mutex};

use kube::runtime::reflector::Lookup;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    packed::Packing,
    store::{Store, Writer},
};
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
    starts_with_packed: bool,
}

impl<K: Lookup<DynamicType = ()> + Clone + 'static> Default for Kind<K> {
    fn default() -> Self {
        Self::new(None, true)
    }
}

impl<K> Kind<K>
where
    K: Lookup<DynamicType = ()> + Clone + Serialize + DeserializeOwned + 'static,
{
    /// A kind of which every object is held packed.
    pub(super) fn packed() -> Self {
        Self::new(Some(Packing::new(|_| true)), true)
    }

    /// A kind whose objects reach a final state, in which there is nothing to do for them: those are held packed.
    pub(super) fn packed_if(is_final: fn(&K) -> bool) -> Self {
        Self::new(Some(Packing::new(is_final)), false)
    }
}

impl<K: Lookup<DynamicType = ()> + Clone + 'static> Kind<K> {
    fn new(packing: Option<Packing<K>>, starts_with_packed: bool) -> Self {
        let store = Store::new(packing);
        let (enqueuer, queue) = queue();
        let writer = Mutex::new(Some(Writer::new(store.clone())));
        Self { store, enqueuer, writer, queue: Mutex::new(Some(queue)), starts_with_packed }
    }

    /// The object with a name in a namespace.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.named(namespace, name)
    }

    /// The cluster-scoped object with a name.
    pub fn get_cluster_scoped(&self, name: &str) -> Option<Arc<K>> {
        self.store.named("", name)
    }

    /// Every object, in no particular order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.matching(|_| true)
    }

    /// The objects that a condition selects, in no particular order.
    pub fn matching(&self, condition: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.store.matching(condition)
    }

    /// Whether a condition selects any object.
    pub fn any(&self, condition: impl Fn(&K) -> bool) -> bool {
        self.store.any(condition)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// How many objects a namespace has, or the cluster, if the name is empty.
    pub fn len_in(&self, namespace: &str) -> usize {
        self.store.len_in(namespace)
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
        self.enqueue_names(true);
    }

    /// Enqueues every object for which there may be something to do.
    pub fn enqueue_unfinished(&self) {
        self.enqueue_names(self.starts_with_packed);
    }

    /// Enqueues the objects whose namespace and name a condition selects.
    pub fn enqueue_named(&self, condition: impl Fn(&str, &str) -> bool) {
        self.store.for_each_name(true, |namespace, name| {
            if condition(namespace, name) {
                self.enqueue(namespace, name);
            }
        });
    }

    fn enqueue_names(&self, with_packed: bool) {
        self.store.for_each_name(with_packed, |namespace, name| self.enqueue(namespace, name));
    }

    fn enqueue(&self, namespace: &str, name: &str) {
        self.enqueuer.enqueue_named(name, Some(namespace).filter(|namespace| !namespace.is_empty()));
    }

    /// The read-only store, for what needs nothing else.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Waits until the first list is complete.
    pub async fn wait_until_listed(&self) {
        self.store.wait_until_listed().await;
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
