//! Watches: what each of them still has to be sent.
//!
//! Knows events and bookmarks; must not know requests. Next: `state.rs`, which reports changes.

use std::sync::Arc;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use serde_json::{Value, json};

use super::{kinds::Kind, selector::Selector};

/// How objects are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// Only what every kind has (`PartialObjectMetadata`).
    Metadata,
}

impl Form {
    /// An object in this form.
    pub(super) fn of(self, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            }),
        }
    }
}

/// What a list or a watch is about.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// The number of the kind.
    pub(super) kind: usize,
    /// The namespace; `None` for all of them.
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    pub(super) form: Form,
}

impl Scope {
    pub(super) fn has(&self, kind: usize, object: &Value) -> bool {
        let in_namespace = |namespace: &String| object["metadata"]["namespace"] == **namespace;
        self.kind == kind && self.namespace.as_ref().is_none_or(in_namespace) && self.selector.selects(object)
    }
}

/// A change of an object.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) kind: usize,
    pub(super) before: Option<Arc<Value>>,
    /// With the version; `None` if it was deleted.
    pub(super) after: Option<Arc<Value>>,
}

/// A watch that is open.
pub(super) struct Watcher {
    scope: Scope,
    lines: UnboundedSender<Bytes>,
}

impl Watcher {
    /// A watch, and what its client reads.
    pub(super) fn new(scope: Scope) -> (Self, UnboundedReceiver<Bytes>) {
        let (lines, received) = unbounded();
        (Self { scope, lines }, received)
    }

    /// Whether the client still reads.
    pub(super) fn is_open(&self) -> bool {
        !self.lines.is_closed()
    }

    /// Sends a change, if it concerns this watch.
    pub(super) fn report(&self, change: &Change) {
        let Change { version, kind, before, after } = change;
        let of_scope = |object: &&Arc<Value>| self.scope.has(*kind, object);
        match (before.as_ref().filter(of_scope), after.as_ref().filter(of_scope)) {
            (None, None) => {}
            (None, Some(after)) => self.send("ADDED", after),
            (Some(_), Some(after)) => self.send("MODIFIED", after),
            (Some(before), None) => {
                let mut last = Value::clone(before);
                last["metadata"]["resourceVersion"] = version.to_string().into();
                self.send("DELETED", &last);
            }
        }
    }

    /// Sends an object that existed before the watch.
    pub(super) fn send_existing(&self, object: &Value) {
        self.send("ADDED", object);
    }

    /// Says that everything was sent that existed before the watch.
    pub(super) fn end_existing(&self, kind: &Kind, version: u64) {
        let annotations = json!({ "k8s.io/initial-events-end": "true" });
        let metadata = json!({ "resourceVersion": version.to_string(), "annotations": annotations });
        let bookmark = json!({ "kind": kind.name, "apiVersion": kind.api_version(), "metadata": metadata });
        self.send("BOOKMARK", &bookmark);
    }

    fn send(&self, what: &str, object: &Value) {
        // In this order, so that clients know what to read the object as.
        let line = format!("{{\"type\":\"{what}\",\"object\":{}}}\n", self.scope.form.of(object));
        // A client that has gone away is removed at the next change.
        _ = self.lines.unbounded_send(line.into());
    }
}
