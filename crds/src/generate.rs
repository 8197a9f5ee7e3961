//! Generates the CustomResourceDefinitions in the chart as YAML. The output is deterministic.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use crate::{
    acme::{Challenge, Order},
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer},
};

/// A generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// File name, such as `cert-manager.io_certificates.yaml`.
    pub name: String,
    /// One object as YAML.
    pub content: String,
}

/// Returns the definitions of all six kinds, sorted by file name.
///
/// # Errors
/// A definition cannot be serialized, which is a bug in the types of this crate.
pub fn custom_resource_definitions() -> Result<Vec<GeneratedFile>, serde_saphyr::ser::Error> {
    [
        Challenge::crd(),
        Order::crd(),
        CertificateRequest::crd(),
        Certificate::crd(),
        ClusterIssuer::crd(),
        Issuer::crd(),
    ]
    .into_iter()
    .map(|definition| {
        Ok(GeneratedFile {
            name: format!("{}_{}.yaml", definition.spec.group, definition.spec.names.plural),
            content: serde_saphyr::to_string(&finish(definition))?,
        })
    })
    .collect()
}

/// Turns a derived definition into the one that the API server accepts and users read.
fn finish(definition: CustomResourceDefinition) -> Value {
    let kind = definition.spec.names.kind.clone();
    let mut value = serde_json::to_value(definition).unwrap_or_default();
    value["metadata"]["labels"] = serde_json::json!({ "app.kubernetes.io/part-of": "acme-operator" });
    if let Some(versions) = value["spec"]["versions"].as_array_mut() {
        for version in versions {
            let schema = &mut version["schema"]["openAPIV3Schema"];
            // In Rust, the doc comment of the spec describes the kind, because the kind's struct is derived from it.
            schema["description"] = schema["properties"]["spec"]["description"].take();
            schema["properties"]["spec"]["description"] = format!("Desired state of the {kind}.").into();
            finish_schema(schema);
        }
    }
    value
}

/// Removes what `schemars` adds to a schema and its nested schemas: null as a value of optional fields, titles, and
/// defaults.
fn finish_schema(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("nullable");
    fields.remove("title");
    // The API server stores schema defaults in the object, where they look like values that the user set.
    fields.remove("default");
    if let Some(values) = fields.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    if fields.get("type").and_then(Value::as_str) == Some("integer") {
        normalize_numbers(fields);
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(finish_schema);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(nested) = fields.get_mut(nested) {
            finish_schema(nested);
        }
    }
}

/// Writes the bounds of an integer as integers: `k8s-openapi` has them as floating-point numbers.
fn normalize_numbers(fields: &mut Map<String, Value>) {
    for bound in ["minimum", "maximum"] {
        #[expect(clippy::cast_possible_truncation, reason = "bounds are small integers")]
        if let Some(number) = fields.get(bound).and_then(Value::as_f64) {
            fields.insert(bound.to_owned(), Value::from(number as i64));
        }
    }
}
