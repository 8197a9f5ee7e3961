//! Places in an object, as managed fields name them (structured-merge-diff): fields, elements of lists, and sets of both.
//!
//! Knows their text; must not know owners. Next: `fields.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::schema::Schema;

/// One step on the way to a place: `f:name`, `k:{"type":"Ready"}`, or `v:"value"`.
pub(super) type Step = String;

/// The way to a place.
pub(super) type Path = Vec<Step>;

/// The places in an object that have an owner, and what is there. `None` for elements and maps that contain further places.
pub(super) type Places = BTreeMap<Path, Option<Value>>;

/// A set of places.
pub(super) type PathSet = BTreeSet<Path>;

/// The step to a field.
pub(super) fn field_step(name: &str) -> Step {
    format!("f:{name}")
}

/// The step to an element of a list; `None` if it lacks a field that tells it apart.
pub(super) fn element_step(element: &Value, schema: &Schema) -> Option<Step> {
    match schema {
        Schema::Keyed { keys, .. } => {
            // serde_json sorts the names, as managed fields do.
            let named = keys.iter().map(|key| {
                let value = element.get(key).cloned();
                // What the API defaults before it compares.
                let default = || (key == "protocol").then(|| json!("TCP"));
                Some((key.clone(), value.or_else(default)?))
            });
            Some(format!("k:{}", Value::Object(named.collect::<Option<Map<_, _>>>()?)))
        }
        Schema::Set => Some(format!("v:{element}")),
        Schema::Atomic | Schema::Object { .. } | Schema::Map(_) | Schema::Unknown => None,
    }
}

/// The schema of a list's elements.
pub(super) fn element_schema(schema: &Schema) -> &Schema {
    match schema {
        Schema::Keyed { element, .. } => element,
        Schema::Atomic | Schema::Object { .. } | Schema::Map(_) | Schema::Set | Schema::Unknown => {
            &Schema::Atomic
        }
    }
}

/// The places of an object that a manager owns which applies it. Those that the server itself writes have no owner.
pub(super) fn places(object: &Value, schema: &Schema) -> Places {
    collected(object, schema, false)
}

/// The same with the objects and lists around them, whose owner is who added them.
pub(super) fn places_and_around(object: &Value, schema: &Schema) -> Places {
    collected(object, schema, true)
}

fn collected(object: &Value, schema: &Schema, with_around: bool) -> Places {
    let mut found = Places::new();
    collect(object, schema, with_around, &mut Vec::new(), &mut found);
    found.retain(|path, _| !is_servers(path));
    found
}

/// Whether only the server writes a place, or it names the object.
fn is_servers(path: &[Step]) -> bool {
    const NAMES: [&str; 2] = ["f:apiVersion", "f:kind"];
    const METADATA: [&str; 9] = [
        "f:name",
        "f:namespace",
        "f:uid",
        "f:resourceVersion",
        "f:creationTimestamp",
        "f:deletionTimestamp",
        "f:deletionGracePeriodSeconds",
        "f:generation",
        "f:managedFields",
    ];
    match path {
        [name] => NAMES.contains(&name.as_str()) || name == "f:metadata",
        [first, second, ..] => first == "f:metadata" && METADATA.contains(&second.as_str()),
        [] => false,
    }
}

fn collect(value: &Value, schema: &Schema, with_around: bool, path: &mut Path, found: &mut Places) {
    match value {
        Value::Object(fields) if schema.has_fields() => {
            for (name, field) in fields {
                let (schema, is_stated) = schema.field(name);
                path.push(field_step(name));
                let before = found.len();
                collect(field, schema, with_around, path, found);
                let is_around = with_around && schema.may_be_missing();
                let is_empty = field.is_null() || field.as_object().is_some_and(Map::is_empty);
                // The name itself was chosen by someone.
                if is_empty || ((is_around || !is_stated) && found.len() > before) {
                    found.entry(path.clone()).or_insert(None);
                }
                path.pop();
            }
        }
        Value::Array(elements) if matches!(schema, Schema::Keyed { .. } | Schema::Set) => {
            for element in elements {
                let Some(step) = element_step(element, schema) else { continue };
                path.push(step);
                found.insert(path.clone(), None);
                collect(element, element_schema(schema), with_around, path, found);
                path.pop();
            }
        }
        scalar => {
            if !path.is_empty() {
                found.insert(path.clone(), Some(scalar.clone()));
            }
        }
    }
}

/// A set of places as managed fields have it (`fieldsV1`).
pub(super) fn to_json(set: &PathSet) -> Value {
    let mut root = Map::new();
    for path in set {
        let mut at = &mut root;
        for step in path {
            let next = at.entry(step.clone()).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(next) = next else { break };
            at = next;
        }
    }
    // A place that contains others is marked.
    for path in set {
        let mut at = Some(&mut root);
        for step in path {
            at = at.and_then(|fields| fields.get_mut(step)).and_then(Value::as_object_mut);
        }
        if let Some(fields) = at.filter(|fields| !fields.is_empty()) {
            fields.insert(".".to_owned(), json!({}));
        }
    }
    Value::Object(root)
}

/// Removes a place from an object.
pub(super) fn remove(object: &mut Value, schema: &Schema, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match object {
        Value::Object(fields) => {
            let Some(name) = step.strip_prefix("f:") else { return };
            if rest.is_empty() {
                fields.remove(name);
            } else if let Some(field) = fields.get_mut(name) {
                remove(field, schema.field(name).0, rest);
            }
        }
        Value::Array(elements) => {
            let is_it = |element: &Value| element_step(element, schema).as_ref() == Some(step);
            if rest.is_empty() {
                elements.retain(|element| !is_it(element));
            } else if let Some(element) = elements.iter_mut().find(|element| is_it(element)) {
                remove(element, element_schema(schema), rest);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
