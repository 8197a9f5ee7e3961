//! Objects of our API as the API server stores them, for tests of the CRDs. Knows manifests, not their Rust types.

use anyhow::{Context, Result};
use kube::{
    Api,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::Value;

/// All documents of a YAML file.
pub(crate) fn documents(yaml: &str) -> Result<Vec<Value>> {
    Ok(serde_saphyr::from_multiple(yaml)?)
}

/// The API of a manifest's kind: in the namespace, unless the kind is cluster-scoped.
pub(crate) fn api_of(client: &kube::Client, namespace: &str, manifest: &Value) -> Result<Api<DynamicObject>> {
    let text = |field: &str| manifest[field].as_str().with_context(|| format!("no {field} in {manifest}"));
    let (group, version) =
        text("apiVersion")?.split_once('/').context("the kind is not in one of our API groups")?;
    let kind = text("kind")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Ok(if kind == "ClusterIssuer" {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    })
}

/// Collects every path at which `part` has a value that `whole` lacks or changes, with both values.
pub(crate) fn lost(part: &Value, whole: &Value, path: &str, losses: &mut Vec<String>) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (key, value) in part {
                lost(value, whole.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"), losses);
            }
        }
        (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => {
            for (index, (value, other)) in part.iter().zip(whole).enumerate() {
                lost(value, other, &format!("{path}[{index}]"), losses);
            }
        }
        (part, whole) if part != whole => losses.push(format!("{path}: {part} became {whole}")),
        _ => {}
    }
}
