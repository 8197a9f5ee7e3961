//! Requests as the operator and its users send them. Knows paths and formats; must not know what is tested. Next: `script.rs`.

#![expect(clippy::needless_pass_by_value, reason = "each value is used once, where it is written")]

use std::fmt::{self, Display, Formatter};

use serde_json::{Value, json};

/// Where everything happens.
pub(crate) const NAMESPACE: &str = "script";

pub(crate) const JSON: &str = "application/json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// How clients ask for the metadata of objects.
pub(crate) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
pub(crate) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// A watch that begins with the objects that there are.
pub(crate) const STREAMED: &str =
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

/// The kinds that are watched after the script.
pub(crate) const WATCHED: [&str; 6] =
    ["certificates", "orders", "secrets", "services", "ingresses", "endpointslices"];

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// The path and the query.
    pub(crate) path: String,
    pub(crate) format: &'static str,
    pub(crate) accept: &'static str,
    pub(crate) body: String,
    /// By which later requests refer to the answer.
    pub(crate) name: Option<String>,
}

impl Display for Call {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.method, self.path, self.body)
    }
}

impl Call {
    pub(crate) fn new(method: &str, path: impl Into<String>, format: &'static str, body: &Value) -> Self {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Self { method: method.to_owned(), path: path.into(), format, accept: JSON, body, name: None }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path, JSON, &Value::Null)
    }

    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    pub(crate) fn accepting(self, accept: &'static str) -> Self {
        Self { accept, ..self }
    }
}

/// The group and version of a kind, as paths have it.
pub(crate) fn prefix(resource: &str) -> &'static str {
    match resource {
        "certificates" | "certificaterequests" | "issuers" => "/apis/cert-manager.io/v1",
        "orders" | "challenges" => "/apis/acme.cert-manager.io/v1",
        "ingresses" => "/apis/networking.k8s.io/v1",
        "endpointslices" => "/apis/discovery.k8s.io/v1",
        "leases" => "/apis/coordination.k8s.io/v1",
        _ => "/api/v1",
    }
}

/// The path of a kind's objects.
pub(crate) fn list_of(resource: &str) -> String {
    format!("{}/namespaces/{NAMESPACE}/{resource}", prefix(resource))
}

pub(crate) fn one(resource: &str, name: &str) -> String {
    format!("{}/{name}", list_of(resource))
}

pub(crate) fn object(resource: &str, name: &str, rest: Value) -> Value {
    let kind = match resource {
        "certificates" => "Certificate",
        "certificaterequests" => "CertificateRequest",
        "issuers" => "Issuer",
        "orders" => "Order",
        "challenges" => "Challenge",
        "ingresses" => "Ingress",
        "endpointslices" => "EndpointSlice",
        "leases" => "Lease",
        "secrets" => "Secret",
        "services" => "Service",
        "events" => "Event",
        "namespaces" => "Namespace",
        _ => "ConfigMap",
    };
    let path = prefix(resource);
    let version = path.trim_start_matches("/apis/").trim_start_matches("/api/");
    let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } });
    for (key, value) in rest.as_object().into_iter().flatten() {
        if key == "metadata" {
            for (key, value) in value.as_object().into_iter().flatten() {
                object["metadata"][key] = value.clone();
            }
        } else {
            object[key] = value.clone();
        }
    }
    object
}

pub(crate) fn create(resource: &str, name: &str, rest: Value) -> Call {
    let path = format!("{}?fieldManager=creator", list_of(resource));
    Call::new("POST", path, JSON, &object(resource, name, rest))
}

pub(crate) fn update(resource: &str, name: &str, rest: Value) -> Call {
    let path = format!("{}?fieldManager=updater", one(resource, name));
    Call::new("PUT", path, JSON, &object(resource, name, rest))
}

pub(crate) fn merge(resource: &str, name: &str, change: Value) -> Call {
    Call::new("PATCH", format!("{}?fieldManager=patcher", one(resource, name)), MERGE, &change)
}

pub(crate) fn merge_status(resource: &str, name: &str, change: Value) -> Call {
    Call::new("PATCH", format!("{}/status?fieldManager=patcher", one(resource, name)), MERGE, &change)
}

pub(crate) fn json_patch(resource: &str, name: &str, operations: Value) -> Call {
    Call::new("PATCH", format!("{}?fieldManager=patcher", one(resource, name)), JSON_PATCH, &operations)
}

pub(crate) fn apply(manager: &str, resource: &str, name: &str, rest: Value) -> Call {
    let path = format!("{}?fieldManager={manager}", one(resource, name));
    Call::new("PATCH", path, APPLY, &object(resource, name, rest))
}

pub(crate) fn force(manager: &str, resource: &str, name: &str, rest: Value) -> Call {
    let path = format!("{}?fieldManager={manager}&force=true", one(resource, name));
    Call::new("PATCH", path, APPLY, &object(resource, name, rest))
}

pub(crate) fn get(resource: &str, name: &str) -> Call {
    Call::get(one(resource, name))
}

pub(crate) fn delete(resource: &str, name: &str, options: Value) -> Call {
    Call::new("DELETE", one(resource, name), JSON, &options)
}
