//! Writes that are safe to repeat: only what differs is written, and never over a change that was not read.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    error::{ReconcileError, Tried},
    failpoint,
    objects::merge_diff,
};

/// A resourceVersion as a number. That they are numbers which grow is part of the API (KEP-5504).
pub fn version_number(version: &str) -> Option<u64> {
    version.parse().ok()
}

/// Whether a resourceVersion is newer than another one of the same object.
pub fn is_newer(one: &str, other: &str) -> bool {
    match (version_number(one), version_number(other)) {
        (Some(one), Some(other)) => one > other,
        _ => one != other,
    }
}

fn named<K: Resource<DynamicType = ()>>(verb: &str, object: &K) -> String {
    let namespace = object.namespace().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{verb} {} {namespace}{}", K::kind(&()), object.name_any())
}

/// Writes the status of an object, if it differs from the one that was read. Returns the object after the write, if there was one.
///
/// # Errors
/// A conflict if the object has changed since it was read.
pub async fn write_status<K, S>(
    api: &Api<K>,
    manager: &str,
    object: &K,
    old: Option<&S>,
    new: &S,
) -> Result<Option<K>, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let tree = |status: Option<&S>| serde_json::to_value(status).unwrap_or_default();
    let old = if old.is_some() { tree(old) } else { json!({}) };
    let Some(difference) = merge_diff(&old, &tree(Some(new))) else { return Ok(None) };
    let patch = json!({
        "metadata": { "resourceVersion": object.resource_version() },
        "status": difference,
    });
    let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let written = api.patch_status(&object.name_any(), &parameters, &Patch::Merge(patch)).await;
    let written = written.tried(|| named("write the status of", object))?;
    failpoint::passed("a status");
    Ok(Some(written))
}

/// Creates an object. Returns `None` if an object with its name exists: names are deterministic, so it is the same object, or the next
/// reconcile finds the difference.
///
/// # Errors
/// The API server rejects the request.
pub async fn create<K>(api: &Api<K>, manager: &str, object: &K) -> Result<Option<K>, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let parameters = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    match api.create(&parameters, object).await {
        Ok(created) => {
            failpoint::passed("a creation");
            Ok(Some(created))
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(error) => Err(error).tried(|| named("create", object)),
    }
}

/// Deletes an object, if it exists and has this UID.
///
/// # Errors
/// The API server rejects the request.
pub async fn delete<K>(api: &Api<K>, name: &str, uid: Option<String>) -> Result<(), ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    let parameters = DeleteParams { preconditions, ..DeleteParams::background() };
    match api.delete(name, &parameters).await {
        Ok(_) => {
            failpoint::passed("a deletion");
            Ok(())
        }
        // It was deleted already, or is another object by now.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error).tried(|| format!("delete {} {name}", K::kind(&()))),
    }
}

/// Applies an object by server-side apply. `force` takes over fields that other managers own.
///
/// # Errors
/// The API server rejects the write, or another manager owns a field and `force` is not set.
pub async fn apply<K>(api: &Api<K>, manager: &str, object: &K, force: bool) -> Result<K, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let parameters = PatchParams { force, ..PatchParams::apply(manager) };
    let applied = api.patch(&object.name_any(), &parameters, &Patch::Apply(object)).await;
    let applied = applied.tried(|| named("apply", object))?;
    failpoint::passed("an apply");
    Ok(applied)
}

/// Patches an object.
///
/// # Errors
/// The API server rejects the request.
pub async fn patch<K>(
    api: &Api<K>,
    manager: &str,
    name: &str,
    patch: Patch<Value>,
) -> Result<K, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let patched = api.patch(name, &parameters, &patch).await;
    let patched = patched.tried(|| format!("patch {} {name}", K::kind(&())))?;
    failpoint::passed("a change");
    Ok(patched)
}
