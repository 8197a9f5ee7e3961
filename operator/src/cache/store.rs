//! The objects of a kind, as the watch last reported them: one that writes, any number that read.
//!
//! Unlike kube's store, it holds objects packed that are read rarely, says what a write replaced, and is not built a second time for a
//! list. Must not know which kinds there are. Next: `packed.rs`, and `k8s/watch/mod.rs`, which writes.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use kube::runtime::reflector::{Lookup, ObjectRef};
use tokio::sync::watch;

use super::packed::{Packed, Packing};
use crate::k8s::version_number;

/// A part of the objects: those of a namespace, or all that have none, by name.
type Objects<K> = HashMap<Box<str>, Entry<K>>;

/// The objects of a kind. Cheap to clone.
pub struct Store<K>(Arc<Shared<K>>);

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<K> {
    namespaces: RwLock<HashMap<Box<str>, Objects<K>>>,
    packing: Option<Packing<K>>,
    /// Whether a list is complete.
    listed: watch::Sender<bool>,
}

struct Entry<K> {
    object: Stored<K>,
    /// The resourceVersion; 0 if it is not a number.
    version: u64,
    /// A hash of the UID: it is compared more often than a packed object is read.
    uid: u64,
    /// The list that has reported it last.
    list: u32,
}

enum Stored<K> {
    Whole(Arc<K>),
    Packed(Packed),
}

/// What a write has changed.
#[derive(Debug, PartialEq)]
pub enum Change<K> {
    /// The object is new.
    Created,
    /// The store had this version.
    Same,
    /// It replaces an earlier version.
    Updated(Arc<K>),
    /// It replaces a later version of the same object: the cluster's data were restored from a backup.
    RolledBack(Arc<K>),
}

impl<K: Lookup<DynamicType = ()>> Store<K> {
    /// An empty store.
    pub(super) fn new(packing: Option<Packing<K>>) -> Self {
        let (namespaces, listed) = (RwLock::default(), watch::Sender::new(false));
        Self(Arc::new(Shared { namespaces, packing, listed }))
    }

    /// The object that a reference names.
    pub fn get(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        self.named(reference.namespace.as_deref().unwrap_or_default(), &reference.name)
    }

    /// The object that a reference names, unless it is packed.
    pub fn unpacked(&self, reference: &ObjectRef<K>) -> Option<Arc<K>> {
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        self.with_entry(namespace, &reference.name, |entry| match &entry.object {
            Stored::Whole(object) => Some(Arc::clone(object)),
            Stored::Packed(_) => None,
        })?
    }

    /// The object with a name; the namespace is empty for a cluster-scoped one.
    pub fn named(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.with_entry(namespace, name, |entry| self.whole(&entry.object))?
    }

    /// Whether an object exists, and not another one of its name.
    pub fn contains(&self, object: &K) -> bool {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name().unwrap_or_default());
        self.with_entry(&namespace, &name, |entry| entry.uid == uid_hash(object)).unwrap_or_default()
    }

    /// The objects that a condition selects, in no particular order.
    pub fn matching(&self, condition: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let namespaces = self.read();
        let all = namespaces.values().flat_map(HashMap::values);
        all.filter_map(|entry| self.whole(&entry.object)).filter(|object| condition(object)).collect()
    }

    /// Whether a condition selects any object.
    pub(super) fn any(&self, condition: impl Fn(&K) -> bool) -> bool {
        let namespaces = self.read();
        let mut all = namespaces.values().flat_map(HashMap::values);
        all.any(|entry| self.whole(&entry.object).is_some_and(|object| condition(&object)))
    }

    /// Calls a function with the namespace and name of each object, or only of those that are not packed.
    pub(super) fn for_each_name(&self, with_packed: bool, mut call: impl FnMut(&str, &str)) {
        for (namespace, objects) in &*self.read() {
            for (name, entry) in objects {
                if with_packed || matches!(entry.object, Stored::Whole(_)) {
                    call(namespace, name);
                }
            }
        }
    }

    /// How many objects a namespace has, or the cluster, if the name is empty.
    pub(super) fn len_in(&self, namespace: &str) -> usize {
        if namespace.is_empty() {
            return self.len();
        }
        self.read().get(namespace).map_or(0, HashMap::len)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read().values().map(HashMap::len).sum()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until the first list is complete.
    pub(super) async fn wait_until_listed(&self) {
        // The sender lives as long as the store.
        _ = self.0.listed.subscribe().wait_for(|listed| *listed).await;
    }

    fn with_entry<T>(&self, namespace: &str, name: &str, read: impl FnOnce(&Entry<K>) -> T) -> Option<T> {
        self.read().get(namespace)?.get(name).map(read)
    }

    fn whole(&self, stored: &Stored<K>) -> Option<Arc<K>> {
        match stored {
            Stored::Whole(object) => Some(Arc::clone(object)),
            Stored::Packed(packed) => self.0.packing.as_ref()?.unpack(packed).map(Arc::new),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Box<str>, Objects<K>>> {
        self.0.namespaces.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Box<str>, Objects<K>>> {
        self.0.namespaces.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn uid_hash<K: Lookup<DynamicType = ()>>(object: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    object.uid().hash(&mut hasher);
    hasher.finish()
}

/// What changes a store. There is one.
pub struct Writer<K> {
    store: Store<K>,
    /// The number of the current list.
    list: u32,
}

impl<K: Lookup<DynamicType = ()>> Writer<K> {
    pub(super) fn new(store: Store<K>) -> Self {
        Self { store, list: 0 }
    }

    /// The store.
    pub fn store(&self) -> &Store<K> {
        &self.store
    }

    /// Whether a list has been complete.
    pub fn is_listed(&self) -> bool {
        *self.store.0.listed.borrow()
    }

    /// Adds an object, or replaces an earlier version.
    pub fn put(&mut self, object: &Arc<K>) -> Change<K> {
        let version = object.resource_version().and_then(|it| version_number(&it)).unwrap_or_default();
        let packed = |packing: &Packing<K>| packing.pack(object);
        let stored = |store: &Store<K>| {
            let packed = store.0.packing.as_ref().and_then(packed);
            packed.map_or_else(|| Stored::Whole(Arc::clone(object)), Stored::Packed)
        };
        let (uid, list) = (uid_hash(&**object), self.list);
        let mut namespaces = self.store.write();
        let namespace = object.namespace().unwrap_or_default();
        let name = object.name().unwrap_or_default();
        let Some(entry) = namespaces.get_mut(&*namespace).and_then(|objects| objects.get_mut(&*name)) else {
            let entry = Entry { object: stored(&self.store), version, uid, list };
            namespaces.entry((*namespace).into()).or_default().insert((*name).into(), entry);
            return Change::Created;
        };
        entry.list = list;
        if entry.version == version && version != 0 {
            return Change::Same;
        }
        let is_older = version != 0 && version < entry.version;
        (entry.version, entry.uid) = (version, uid);
        let old = std::mem::replace(&mut entry.object, stored(&self.store));
        match self.store.whole(&old) {
            Some(old) if is_older && old.uid() == object.uid() => Change::RolledBack(old),
            Some(old) => Change::Updated(old),
            None => Change::Created,
        }
    }

    /// Removes an object. Returns what the store had.
    pub fn remove(&mut self, object: &K) -> Option<Arc<K>> {
        let namespace = object.namespace().unwrap_or_default();
        let mut namespaces = self.store.write();
        let objects = namespaces.get_mut(&*namespace)?;
        let removed = objects.remove(&*object.name().unwrap_or_default());
        if objects.is_empty() {
            namespaces.remove(&*namespace);
        }
        removed.and_then(|entry| self.store.whole(&entry.object))
    }

    /// Begins a list: what it does not report is removed when it ends.
    pub fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// Ends a list. Returns what was removed.
    pub fn end_list(&mut self) -> Vec<Arc<K>> {
        let (store, list) = (&self.store, self.list);
        let mut gone = Vec::new();
        store.write().retain(|_, objects| {
            let old = objects.extract_if(|_, entry| entry.list != list);
            gone.extend(old.filter_map(|(_, entry)| store.whole(&entry.object)));
            objects.shrink_to_fit();
            !objects.is_empty()
        });
        store.0.listed.send_replace(true);
        gone
    }
}

#[cfg(test)]
mod tests {
    use crds::{
        certmanager::{CertificateRequest, CertificateRequestStatus},
        fixtures,
    };
    use kube::ResourceExt;

    use super::*;

    fn request(name: &str, version: &str, is_final: bool) -> Arc<CertificateRequest> {
        Arc::new(fixtures::certificate_request(name, |it| {
            it.metadata.namespace = Some("a".to_owned());
            it.metadata.uid = Some(name.to_owned());
            it.metadata.resource_version = Some(version.to_owned());
            it.status = is_final.then(CertificateRequestStatus::default);
        }))
    }

    fn writer() -> Writer<CertificateRequest> {
        Writer::new(Store::new(Some(Packing::new(|it| it.status.is_some()))))
    }

    fn names(store: &Store<CertificateRequest>, with_packed: bool) -> Vec<String> {
        let mut names = Vec::new();
        store.for_each_name(with_packed, |_, name| names.push(name.to_owned()));
        names.sort();
        names
    }

    #[test]
    fn packed_objects_are_read_like_others() {
        let mut writer = writer();
        let (one, two) = (request("one", "1", false), request("two", "1", true));
        assert_eq!(writer.put(&one), Change::Created);
        assert_eq!(writer.put(&two), Change::Created);
        let store = writer.store().clone();
        assert_eq!((store.named("a", "one"), store.named("a", "two")), (Some(one), Some(Arc::clone(&two))));
        assert_eq!((names(&store, false), names(&store, true).len()), (vec!["one".to_owned()], 2));
        assert_eq!(store.matching(|it| it.name_any() == "two"), [Arc::clone(&two)]);
        assert!(store.contains(&two));
        assert_eq!(writer.remove(&two), Some(two));
        assert_eq!((store.named("a", "two"), store.len()), (None, 1));
    }

    #[test]
    fn put_says_what_it_replaces() {
        let mut writer = writer();
        writer.put(&request("one", "9", true));
        assert_eq!(writer.put(&request("one", "9", true)), Change::Same);
        assert_eq!(writer.put(&request("one", "10", true)), Change::Updated(request("one", "9", true)));
        assert_eq!(writer.put(&request("one", "8", false)), Change::RolledBack(request("one", "10", true)));
        assert_eq!(writer.put(&request("one", "9", false)), Change::Updated(request("one", "8", false)));
    }

    #[test]
    fn list_removes_what_it_does_not_report() {
        let mut writer = writer();
        writer.begin_list();
        for name in ["one", "two"] {
            writer.put(&request(name, "1", true));
        }
        assert_eq!((writer.end_list(), writer.is_listed()), (vec![], true));
        writer.begin_list();
        assert_eq!(writer.put(&request("two", "1", true)), Change::Same);
        assert_eq!(writer.store().len(), 2, "until the list ends, nothing is missing");
        assert_eq!(writer.end_list(), [request("one", "1", true)]);
        assert_eq!(names(writer.store(), true), ["two"]);
        writer.remove(&request("two", "1", true));
        assert!(writer.store().read().is_empty(), "an empty namespace takes no memory");
    }
}
