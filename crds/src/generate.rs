//! The CustomResourceDefinitions as YAML, as the chart carries them: the same text from the same types.

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
    /// Its name, such as `cert-manager.io_certificates.yaml`.
    pub name: String,
    /// YAML of one object.
    pub content: String,
}

/// All six definitions, in the order of their names.
///
/// # Errors
/// None of them comes from outside: the types can't be written as YAML.
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
            content: serde_saphyr::to_string(&polish(definition))?,
        })
    })
    .collect()
}

/// Makes a derived definition what the API server wants and people read.
fn polish(definition: CustomResourceDefinition) -> Value {
    let kind = definition.spec.names.kind.clone();
    let mut value = serde_json::to_value(definition).unwrap_or_default();
    value["metadata"]["labels"] = serde_json::json!({ "app.kubernetes.io/part-of": "acme-operator" });
    if let Some(versions) = value["spec"]["versions"].as_array_mut() {
        for version in versions {
            let schema = &mut version["schema"]["openAPIV3Schema"];
            // In Rust, the doc comment of the spec describes the kind, because the kind's struct is derived from it.
            schema["description"] = schema["properties"]["spec"]["description"].take();
            schema["properties"]["spec"]["description"] = format!("Desired state of the {kind}.").into();
            polish_schema(schema);
        }
    }
    value
}

/// An absent field says nothing; a null is no value. `schemars` says the first by allowing the second.
fn polish_schema(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    fields.remove("nullable");
    fields.remove("title");
    // A default in the schema is stored with the object, and then differs from what was meant.
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
        properties.values_mut().for_each(polish_schema);
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(nested) = fields.get_mut(nested) {
            polish_schema(nested);
        }
    }
}

/// Bounds of integers are integers, though the definition's type says numbers.
fn normalize_numbers(fields: &mut Map<String, Value>) {
    for bound in ["minimum", "maximum"] {
        #[expect(clippy::cast_possible_truncation, reason = "bounds are small whole numbers")]
        if let Some(number) = fields.get(bound).and_then(Value::as_f64) {
            fields.insert(bound.to_owned(), Value::from(number as i64));
        }
    }
}
