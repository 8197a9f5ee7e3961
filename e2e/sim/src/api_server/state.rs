//! The objects, their versions, and who watches them.
//!
//! Knows that each change has a version; must not know what may be changed. Next: `write.rs`.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use anyhow::Context;
use bytes::Bytes;
use futures::channel::mpsc::UnboundedReceiver;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Now,
    answer::Failure,
    fields::{Owners, seconds},
    kinds::Kind,
    watch::{Change, Scope, Watcher},
};

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The number of the kind.
    pub(super) kind: usize,
    /// Empty if the kind has no namespaces.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// An object as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// With `metadata.managedFields`.
    pub(super) object: Arc<Value>,
    pub(super) owners: Owners,
}

/// Whether an object is being deleted.
pub(super) fn is_marked(object: &Value) -> bool {
    object["metadata"].get("deletionTimestamp").is_some()
}

/// Everything that the server knows.
pub(super) struct State {
    pub(super) kinds: Vec<Kind>,
    /// The number of the kind Namespace.
    pub(super) namespaces: usize,
    objects: BTreeMap<Key, Stored>,
    /// The version of the last change.
    version: u64,
    /// All changes, the oldest first.
    history: Vec<Change>,
    watchers: Vec<Watcher>,
    now: Now,
    /// How many UIDs and generated names there are.
    names: u64,
}

impl State {
    pub(super) fn new(kinds: Vec<Kind>, now: Now) -> anyhow::Result<Self> {
        let namespaces = kinds.iter().position(|kind| kind.name == "Namespace");
        let mut state = Self {
            namespaces: namespaces.context("there are no namespaces")?,
            kinds,
            objects: BTreeMap::new(),
            version: 0,
            history: Vec::new(),
            watchers: Vec::new(),
            now,
            names: 0,
        };
        for name in ["default", "kube-system"] {
            let namespace = json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
                "status": { "phase": "Active" },
            });
            state.add(state.namespace_key(name), namespace, Owners::default());
        }
        Ok(state)
    }

    fn namespace_key(&self, name: &str) -> Key {
        Key { kind: self.namespaces, namespace: String::new(), name: name.to_owned() }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// A number that was never returned before.
    pub(super) fn unique(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    pub(super) fn get(&self, key: &Key) -> Result<&Stored, Failure> {
        self.objects.get(key).ok_or_else(|| Failure::not_found(&self.kinds[key.kind], &key.name))
    }

    /// The namespace of an object that is created.
    pub(super) fn namespace(&self, name: &str) -> Option<&Value> {
        self.objects.get(&self.namespace_key(name)).map(|stored| &*stored.object)
    }

    /// The objects of a scope, sorted by namespace and name, each with its key.
    pub(super) fn select(&self, scope: &Scope) -> Vec<(&Key, &Arc<Value>)> {
        let first = Key {
            kind: scope.kind,
            namespace: scope.namespace.clone().unwrap_or_default(),
            name: String::new(),
        };
        let of_kind = self.objects.range(first..).take_while(|(key, _)| key.kind == scope.kind);
        let objects = of_kind.map(|(key, stored)| (key, &stored.object));
        objects.filter(|(_, object)| scope.has(scope.kind, object)).collect()
    }

    /// Adds an object with a UID and a time of creation.
    pub(super) fn add(&mut self, key: Key, mut object: Value, owners: Owners) -> Arc<Value> {
        let number = self.unique();
        let uid = format!("00000000-0000-4000-8000-{number:012x}");
        object["metadata"]["uid"] = uid.into();
        object["metadata"]["creationTimestamp"] = seconds(self.now()).into();
        if self.kinds[key.kind].has_generation {
            object["metadata"]["generation"] = 1.into();
        }
        self.put(key, object, owners)
    }

    /// Stores an object in its next version.
    pub(super) fn put(&mut self, key: Key, mut object: Value, owners: Owners) -> Arc<Value> {
        self.version += 1;
        self.render(&key, &mut object, &owners);
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let after = Arc::new(object);
        let kind = key.kind;
        let before = self.objects.insert(key, Stored { object: Arc::clone(&after), owners });
        let before = before.map(|stored| stored.object);
        self.note(Change { version: self.version, kind, before, after: Some(Arc::clone(&after)) });
        after
    }

    fn render(&self, key: &Key, object: &mut Value, owners: &Owners) {
        let managed = owners.to_json(&self.kinds[key.kind].api_version());
        let Some(metadata) = object["metadata"].as_object_mut() else { return };
        if managed.as_array().is_some_and(Vec::is_empty) {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), managed);
        }
    }

    /// Removes an object that waited for its last finalizer. Returns it without that; watches get what was stored.
    pub(super) fn end(&mut self, key: &Key, mut object: Value, owners: &Owners) -> Arc<Value> {
        self.render(key, &mut object, owners);
        self.remove(key);
        Arc::new(object)
    }

    /// Removes an object. Returns its last version.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let stored = self.objects.remove(key)?;
        self.version += 1;
        let before = Some(Arc::clone(&stored.object));
        self.note(Change { version: self.version, kind: key.kind, before, after: None });
        Some(stored.object)
    }

    fn note(&mut self, change: Change) {
        self.watchers.retain(Watcher::is_open);
        for watcher in &self.watchers {
            watcher.report(&change);
        }
        self.history.push(change);
    }

    /// Begins a watch after a version, or with the objects that there are.
    pub(super) fn watch(&mut self, scope: &Scope, after: Option<u64>) -> UnboundedReceiver<Bytes> {
        let (watcher, received) = Watcher::new(scope.clone());
        match after {
            Some(version) => {
                let changes = self.history.iter().filter(|change| change.version > version);
                changes.for_each(|change| watcher.report(change));
            }
            None => self.select(scope).iter().for_each(|(_, object)| watcher.send_existing(object)),
        }
        self.watchers.push(watcher);
        received
    }

    /// Begins a watch with the objects that there are, followed by a bookmark that says so.
    pub(super) fn stream(&mut self, scope: &Scope) -> UnboundedReceiver<Bytes> {
        let (kind, version) = (scope.kind, self.version);
        let received = self.watch(scope, None);
        if let Some(watcher) = self.watchers.last() {
            watcher.end_existing(&self.kinds[kind], version);
        }
        received
    }

    /// Deletes what has lost its last owner or its namespace. Returns how many objects were deleted or marked.
    pub(super) fn collect_garbage(&mut self) -> usize {
        let uids: HashSet<&str> =
            self.objects.values().filter_map(|it| it.object["metadata"]["uid"].as_str()).collect();
        let is_orphan = |object: &Value| {
            let mut owners =
                object["metadata"]["ownerReferences"].as_array().into_iter().flatten().peekable();
            owners.peek().is_some()
                && owners.all(|owner| !owner["uid"].as_str().is_some_and(|uid| uids.contains(uid)))
        };
        let ends = |key: &Key| self.namespace(&key.namespace).is_some_and(is_marked);
        let is_due = |(key, stored): &(&Key, &Stored)| {
            !is_marked(&stored.object) && (is_orphan(&stored.object) || ends(key))
        };
        let due: Vec<Key> = self.objects.iter().filter(is_due).map(|(key, _)| key.clone()).collect();
        for key in &due {
            self.mark_or_remove(key);
        }
        due.len() + self.end_namespaces()
    }

    /// Removes the namespaces that are being deleted and are empty.
    fn end_namespaces(&mut self) -> usize {
        let used: HashSet<&str> = self.objects.keys().map(|key| &*key.namespace).collect();
        let namespaces = self.objects.iter().filter(|(key, _)| key.kind == self.namespaces);
        let ended =
            namespaces.filter(|(key, stored)| is_marked(&stored.object) && !used.contains(&*key.name));
        let ended: Vec<Key> = ended.map(|(key, _)| key.clone()).collect();
        for key in &ended {
            self.remove(key);
        }
        ended.len()
    }

    /// Deletes an object, or marks it if something has to be done before. Returns the object, and whether it still exists.
    pub(super) fn mark_or_remove(&mut self, key: &Key) -> Option<(Arc<Value>, bool)> {
        let stored = self.objects.get(key)?.clone();
        let metadata = &stored.object["metadata"];
        let waits = metadata["finalizers"].as_array().is_some_and(|it| !it.is_empty());
        let is_namespace = key.kind == self.namespaces;
        if !waits && !is_namespace {
            return self.remove(key).map(|object| (object, false));
        }
        if is_marked(&stored.object) {
            return Some((stored.object, true));
        }
        let mut object = Value::clone(&stored.object);
        let metadata = &mut object["metadata"];
        metadata["deletionTimestamp"] = seconds(self.now()).into();
        if is_namespace {
            object["status"]["phase"] = "Terminating".into();
        } else {
            metadata["deletionGracePeriodSeconds"] = 0.into();
            if let Some(generation) = metadata["generation"].as_u64() {
                metadata["generation"] = (generation + 1).into();
            }
        }
        Some((self.put(key.clone(), object, stored.owners), true))
    }
}
