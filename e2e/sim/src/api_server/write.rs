//! Creations, updates, patches, and deletions: what of a write is taken, and what is the server's.
//!
//! Next: `apply.rs` for server-side apply, `validation.rs` for what is rejected.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, Failure},
    apply::apply,
    fields::{Operation, Owner, Owners},
    kinds::Kind,
    schema::prune,
    state::{Key, State, Stored, is_marked},
    validation,
};

/// Who writes.
pub(super) struct Writer {
    /// The field manager.
    pub(super) name: String,
    /// Whether an apply takes fields from others.
    pub(super) is_forced: bool,
}

/// How an existing object is written.
pub(super) struct Options {
    pub(super) writer: Writer,
    /// Whether only the status is written.
    pub(super) is_status: bool,
}

impl Options {
    fn owner(&self, operation: Operation) -> Owner {
        Owner { manager: self.writer.name.clone(), operation, is_status: self.is_status }
    }
}

/// A change of an object.
pub(super) enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(json_patch::Patch),
    /// Server-side apply.
    Apply(Value),
}

/// Creates an object.
pub(super) fn create(
    state: &mut State,
    kind: usize,
    namespace: &str,
    mut object: Value,
    writer: &Writer,
) -> Result<Arc<Value>, Failure> {
    let owner = Owner { manager: writer.name.clone(), operation: Operation::Update, is_status: false };
    let key = prepare(state, kind, namespace, &mut object)?;
    let mut owners = Owners::default();
    let now = state.now();
    owners.note_update(&owner, &json!({}), &object, &state.kinds[kind].schema, now);
    add(state, key, object, owners)
}

/// Makes what a client sends an object that may be created: its name, its namespace, defaults, and no status.
fn prepare(state: &mut State, kind: usize, namespace: &str, object: &mut Value) -> Result<Key, Failure> {
    check_type(&state.kinds[kind], object)?;
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let generated = object["metadata"]["generateName"].as_str().map(ToOwned::to_owned);
    let name = match (object["metadata"]["name"].as_str(), generated) {
        (Some(name), _) if !name.is_empty() => name.to_owned(),
        (_, Some(prefix)) => format!("{prefix}{:05x}", state.unique()),
        (_, None) => {
            return Err(Failure::invalid(
                &state.kinds[kind],
                "",
                "metadata.name: name or generateName is required",
            ));
        }
    };
    let known = &state.kinds[kind];
    let stated = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if known.is_namespaced && !stated.is_empty() && stated != namespace {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let metadata = &mut object["metadata"];
    metadata["name"] = name.clone().into();
    if known.is_namespaced {
        metadata["namespace"] = namespace.into();
    }
    if let Some(fields) = metadata.as_object_mut() {
        for name in SERVERS {
            fields.remove(name);
        }
    }
    if let Some(fields) = object.as_object_mut()
        && known.has_status
    {
        fields.remove("status");
    }
    set_defaults(known, object);
    drop_unknown(known, object);
    Ok(Key { kind, namespace: namespace.to_owned(), name })
}

/// The fields of `metadata` that clients can't set.
const SERVERS: [&str; 6] =
    ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "generation", "managedFields"];

fn add(state: &mut State, key: Key, mut object: Value, owners: Owners) -> Result<Arc<Value>, Failure> {
    let kind = &state.kinds[key.kind];
    if kind.is_namespaced {
        let Some(namespace) = state.namespace(&key.namespace) else {
            return Err(Failure::not_found(&state.kinds[state.namespaces], &key.namespace));
        };
        if is_marked(namespace) {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                key.namespace
            );
            return Err(Failure::forbidden(kind, &key.name, &why));
        }
    }
    if state.get(&key).is_ok() {
        return Err(Failure::already_exists(kind, &key.name));
    }
    validation::check(kind, None, &object)?;
    allocate(&kind.name, &mut object);
    Ok(state.add(key, object, owners))
}

/// Replaces an object.
pub(super) fn update(
    state: &mut State,
    key: &Key,
    mut object: Value,
    options: &Options,
) -> Result<Arc<Value>, Failure> {
    check_type(&state.kinds[key.kind], &object)?;
    let old = state.get(key)?.clone();
    if object["metadata"]["name"] != *key.name {
        return Err(Failure::bad_request("the name of the object does not match the name on the URL"));
    }
    let kind = &state.kinds[key.kind];
    if object["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty()
        && (kind.open_api.is_some() || kind.name == "Lease")
    {
        return Err(Failure::unversioned(kind, &key.name));
    }
    check_preconditions(kind, key, &old.object, &object["metadata"], Failure::conflict)?;
    set_defaults(kind, &mut object);
    store(state, key, &old, object, options, None)
}

/// Patches an object. Returns it, and whether it was created.
pub(super) fn patch(
    state: &mut State,
    key: &Key,
    patch: Patch,
    options: &Options,
) -> Result<(Arc<Value>, bool), Failure> {
    let edited = match patch {
        Patch::Apply(wanted) => return applied(state, key, wanted, options),
        Patch::Merge(change) => edited(state, key, options, |object| {
            json_patch::merge(object, &change);
            Ok(())
        }),
        Patch::Json(operations) => edited(state, key, options, |object| {
            json_patch::patch(object, &operations).map_err(|error| Failure::unprocessable(error.to_string()))
        }),
    };
    edited.map(|object| (object, false))
}

fn edited(
    state: &mut State,
    key: &Key,
    options: &Options,
    edit: impl FnOnce(&mut Value) -> Result<(), Failure>,
) -> Result<Arc<Value>, Failure> {
    let old = state.get(key)?.clone();
    let mut object = Value::clone(&old.object);
    edit(&mut object)?;
    set_defaults(&state.kinds[key.kind], &mut object);
    store(state, key, &old, object, options, None)
}

fn applied(
    state: &mut State,
    key: &Key,
    mut wanted: Value,
    options: &Options,
) -> Result<(Arc<Value>, bool), Failure> {
    let owner = options.owner(Operation::Apply);
    let now = state.now();
    let kind = &state.kinds[key.kind];
    check_type(kind, &wanted)?;
    if wanted["metadata"].get("managedFields").is_some_and(|it| !it.is_null()) {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    if let Some(open_api) = &kind.open_api
        && let Some(path) = validation::mistyped(&wanted, open_api)
    {
        return Err(Failure::mistyped(format!("failed to create typed patch object: {path}")));
    }
    drop_unknown(kind, &mut wanted);
    let ignored = if options.is_status { "spec" } else { "status" };
    if let Some(fields) = wanted.as_object_mut()
        && kind.has_status
    {
        fields.remove(ignored);
    }
    if state.get(key).is_err() {
        if options.is_status {
            return Err(Failure::not_found(kind, &key.name));
        }
        let mut owners = Owners::default();
        let applied = apply(&json!({}), &wanted, &kind.schema, &owner, &mut owners, true, now);
        let mut object = applied.unwrap_or(wanted);
        let key = prepare(state, key.kind, &key.namespace, &mut object)?;
        return add(state, key, object, owners).map(|object| (object, true));
    }
    let old = state.get(key)?.clone();
    let mut owners = old.owners.clone();
    let is_forced = options.writer.is_forced;
    let merged = apply(&old.object, &wanted, &kind.schema, &owner, &mut owners, is_forced, now);
    let mut merged = merged.map_err(|conflicts| {
        let managers: Vec<_> = conflicts.iter().map(|it| format!("{:?}", it.manager)).collect();
        Failure::apply_conflict(&managers, conflicts.iter().map(|it| it.count).sum())
    })?;
    set_defaults(kind, &mut merged);
    store(state, key, &old, merged, options, Some(owners)).map(|object| (object, false))
}

/// Stores a change of an object, if it is one. `owners` are those after an apply.
fn store(
    state: &mut State,
    key: &Key,
    old: &Stored,
    new: Value,
    options: &Options,
    owners: Option<Owners>,
) -> Result<Arc<Value>, Failure> {
    let kind = &state.kinds[key.kind];
    let now = state.now();
    if new["metadata"]["uid"] != old.object["metadata"]["uid"] && new["metadata"]["uid"].is_string() {
        return Err(Failure::invalid(kind, &key.name, "metadata.uid: field is immutable"));
    }
    check_preconditions(kind, key, &old.object, &new["metadata"], Failure::conflict)?;
    let mut object = taken(kind, &old.object, new, options.is_status);
    drop_unknown(kind, &mut object);
    validation::check(kind, Some(&old.object), &object)?;
    let is_changed = |name: &String| object[name.as_str()] != old.object[name.as_str()];
    let mut names: Vec<String> = [&object, &old.object]
        .into_iter()
        .flat_map(|it| it.as_object().into_iter().flat_map(Map::keys).cloned())
        .collect();
    names.retain(|name| name != "metadata" && !(kind.has_status && name == "status"));
    if kind.has_generation && names.iter().any(is_changed) {
        let generation = old.object["metadata"]["generation"].as_u64().unwrap_or_default();
        object["metadata"]["generation"] = (generation + 1).into();
    }
    let owners = owners.unwrap_or_else(|| {
        let mut owners = old.owners.clone();
        owners.note_update(&options.owner(Operation::Update), &old.object, &object, &kind.schema, now);
        owners
    });
    object["metadata"]["managedFields"] = old.object["metadata"]["managedFields"].clone();
    if object == *old.object && owners == old.owners {
        return Ok(Arc::clone(&old.object));
    }
    let is_free = object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    if is_marked(&object) && is_free && key.kind != state.namespaces {
        return Ok(state.end(key, object, &owners));
    }
    Ok(state.put(key.clone(), object, owners))
}

/// A write may say which object and which version it is about.
fn check_preconditions(
    kind: &Kind,
    key: &Key,
    old: &Value,
    stated: &Value,
    failure: fn(&Kind, &str, &str) -> Failure,
) -> Result<(), Failure> {
    for (field, why) in [
        ("uid", "the UID in the precondition does not match the UID in record"),
        (
            "resourceVersion",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
    ] {
        let wanted = stated[field].as_str().unwrap_or_default();
        if !wanted.is_empty() && old["metadata"][field] != *wanted {
            return Err(failure(kind, &key.name, why));
        }
    }
    Ok(())
}

/// What of a write is taken: never the server's own metadata, and either the status or everything else.
fn taken(kind: &Kind, old: &Value, mut new: Value, is_status: bool) -> Value {
    if is_status {
        let mut object = old.clone();
        match new.get_mut("status").map(Value::take) {
            Some(status) if !status.is_null() => object["status"] = status,
            _ => drop(object.as_object_mut().and_then(|fields| fields.remove("status"))),
        }
        return object;
    }
    let mut keep = |name: &str, at: fn(&mut Value) -> &mut Value, old: Option<&Value>| {
        let Some(fields) = at(&mut new).as_object_mut() else { return };
        match old {
            Some(value) => drop(fields.insert(name.to_owned(), value.clone())),
            None => drop(fields.remove(name)),
        }
    };
    for name in ["apiVersion", "kind"] {
        keep(name, |object| object, old.get(name));
    }
    if kind.has_status {
        keep("status", |object| object, old.get("status"));
    }
    let servers = ["name", "namespace", "deletionGracePeriodSeconds"].into_iter().chain(SERVERS);
    for name in servers {
        keep(name, |object| &mut object["metadata"], old["metadata"].get(name));
    }
    for name in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let is_empty = match &new["metadata"][name] {
            Value::Object(fields) => fields.is_empty(),
            Value::Array(elements) => elements.is_empty(),
            other => other.is_null(),
        };
        if let Some(fields) = new["metadata"].as_object_mut().filter(|_| is_empty) {
            fields.remove(name);
        }
    }
    new
}

/// Deletes an object.
pub(super) fn delete(state: &mut State, key: &Key, body: &[u8]) -> Result<Answer, Failure> {
    let options: Value = serde_json::from_slice(body).unwrap_or_default();
    let old = Arc::clone(&state.get(key)?.object);
    let kind = &state.kinds[key.kind];
    check_preconditions(kind, key, &old, &options["preconditions"], Failure::precondition)?;
    let Some((object, exists)) = state.mark_or_remove(key) else {
        return Err(Failure::not_found(&state.kinds[key.kind], &key.name));
    };
    if exists {
        return Ok(Answer::ok(Value::clone(&object)));
    }
    let kind = &state.kinds[key.kind];
    if kind.name == "Service" {
        let mut object = Value::clone(&object);
        object["metadata"]["resourceVersion"] = state.version().to_string().into();
        return Ok(Answer::ok(object));
    }
    let mut details = kind.details(&key.name);
    details["uid"] = old["metadata"]["uid"].clone();
    Ok(Answer::ok(json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })))
}

fn check_type(kind: &Kind, object: &Value) -> Result<(), Failure> {
    if object["kind"] != *kind.name || object["apiVersion"] != *kind.api_version() {
        return Err(Failure::bad_request("the object provided is of another kind or version than the URL"));
    }
    Ok(())
}

/// Drops what a CRD does not state.
fn drop_unknown(kind: &Kind, object: &mut Value) {
    let Some(open_api) = &kind.open_api else { return };
    let kept = ["apiVersion", "kind", "metadata"].map(|name| (name, object[name].take()));
    prune(object, open_api);
    for (name, value) in kept {
        object[name] = value;
    }
}

/// What the server adds where a client says nothing.
fn set_defaults(kind: &Kind, object: &mut Value) {
    let default = |object: &mut Value, name: &str, value: Value| {
        if object.is_object() && object[name].is_null() {
            object[name] = value;
        }
    };
    match &*kind.name {
        "Secret" => {
            default(object, "type", "Opaque".into());
            let texts = object.as_object_mut().and_then(|fields| fields.remove("stringData"));
            for (name, text) in texts.as_ref().and_then(Value::as_object).into_iter().flatten() {
                let data = k8s_bytes(text.as_str().unwrap_or_default());
                object["data"][name.as_str()] = data;
            }
        }
        "Service" => {
            let spec = &mut object["spec"];
            default(spec, "type", "ClusterIP".into());
            default(spec, "sessionAffinity", "None".into());
            default(spec, "internalTrafficPolicy", "Cluster".into());
            for port in spec["ports"].as_array_mut().into_iter().flatten() {
                default(port, "protocol", "TCP".into());
                let number = port["port"].clone();
                default(port, "targetPort", number);
            }
        }
        "EndpointSlice" => {
            for port in object["ports"].as_array_mut().into_iter().flatten() {
                default(port, "protocol", "TCP".into());
                default(port, "name", "".into());
            }
        }
        "Namespace" => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        _ => {}
    }
}

/// A text as a Secret has it.
fn k8s_bytes(text: &str) -> Value {
    json!(k8s_openapi::ByteString(text.as_bytes().to_vec()))
}

/// What only the server decides, when an object is created.
fn allocate(kind: &str, object: &mut Value) {
    match kind {
        "Service" => {
            let address = "10.96.0.10";
            let spec = &mut object["spec"];
            if spec["clusterIP"].is_null() {
                spec["clusterIP"] = address.into();
            }
            spec["clusterIPs"] = json!([spec["clusterIP"]]);
            spec["ipFamilies"] = json!(["IPv4"]);
            spec["ipFamilyPolicy"] = "SingleStack".into();
            object["status"] = json!({ "loadBalancer": {} });
        }
        "Event" => {
            // Times are never left out.
            for name in ["eventTime", "firstTimestamp", "lastTimestamp"] {
                let time = object[name].take();
                object[name] = time;
            }
            for name in ["reportingComponent", "reportingInstance"] {
                if object[name].is_null() {
                    object[name] = "".into();
                }
            }
        }
        "Ingress" => object["status"] = json!({ "loadBalancer": {} }),
        "Namespace" => {
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
        }
        _ => {}
    }
}
