//! The kinds that the model serves: those of the operator, with its own CRDs, and those that it reads or writes.
//!
//! Knows their names and structures; must not know what they mean. Next: `schema.rs`.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::schema::Schema;

/// A kind of objects.
#[derive(Debug)]
pub(super) struct Kind {
    /// The API group; empty for the core group.
    pub(super) group: String,
    pub(super) version: String,
    /// The name in paths.
    pub(super) plural: String,
    pub(super) name: String,
    pub(super) is_namespaced: bool,
    /// Whether the status is written separately.
    pub(super) has_status: bool,
    /// Whether `metadata.generation` counts the changes of what users write.
    pub(super) has_generation: bool,
    pub(super) schema: Schema,
    /// What a CRD states, if there is one: unknown fields are dropped, and wrong values are rejected.
    pub(super) open_api: Option<Value>,
}

impl Kind {
    /// The group and version, as objects have them.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// How a `Status` names an object.
    pub(super) fn details(&self, name: &str) -> Value {
        let mut details = json!({ "name": name, "kind": self.plural });
        if !self.group.is_empty() {
            details["group"] = self.group.clone().into();
        }
        details
    }

    /// How the paths of its objects begin.
    pub(super) fn root(&self) -> String {
        let folder = if self.group.is_empty() { "/api" } else { "/apis" };
        format!("{folder}/{}", self.api_version())
    }

    /// The name in messages.
    pub(super) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// All kinds.
pub(super) fn all() -> Result<Vec<Kind>> {
    let mut kinds = built_in();
    for file in crds::generate::custom_resource_definitions().context("failed to generate the CRDs")? {
        let definition: Value = serde_saphyr::from_str(&file.content)
            .with_context(|| format!("failed to read the CRD {}", file.name))?;
        kinds.extend(of_definition(&definition));
    }
    Ok(kinds)
}

/// The kinds of a CRD.
fn of_definition(definition: &Value) -> Vec<Kind> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let versions = spec["versions"].as_array().into_iter().flatten();
    versions
        .map(|version| {
            let open_api = &version["schema"]["openAPIV3Schema"];
            Kind {
                group: text(&spec["group"]),
                version: text(&version["name"]),
                plural: text(&spec["names"]["plural"]),
                name: text(&spec["names"]["kind"]),
                is_namespaced: spec["scope"] == "Namespaced",
                has_status: version["subresources"]["status"].is_object(),
                has_generation: true,
                schema: with_metadata(Schema::of_open_api(open_api)),
                open_api: Some(open_api.clone()),
            }
        })
        .collect()
}

fn with_metadata(schema: Schema) -> Schema {
    match schema {
        Schema::Object { mut fields, is_always } => {
            fields.insert("metadata".to_owned(), metadata());
            Schema::Object { fields, is_always }
        }
        Schema::Atomic | Schema::Map(_) | Schema::Keyed { .. } | Schema::Set | Schema::Unknown => schema,
    }
}

fn metadata() -> Schema {
    Schema::object([
        ("labels", Schema::map()),
        ("annotations", Schema::map()),
        ("ownerReferences", Schema::keyed(&["uid"], Schema::Atomic)),
        ("finalizers", Schema::Set),
        ("generateName", Schema::Atomic),
    ])
}

/// The kinds of Kubernetes itself, and those of the Gateway API.
fn built_in() -> Vec<Kind> {
    [core(), routing(), gateway_api(), other()].into_iter().flatten().collect()
}

fn balancer() -> (&'static str, Schema) {
    ("status", Schema::object([("loadBalancer", Schema::object([("ingress", Schema::Atomic)]))]))
}

/// The core group.
fn core() -> Vec<Kind> {
    use Schema::Atomic;

    let port = ["name", "port", "protocol", "targetPort", "nodePort", "appProtocol"];
    let port = Schema::object(port.map(|name| (name, Atomic)));
    vec![
        kind("", "v1", "namespaces", "Namespace", [("status", scalars(["phase"]))])
            .cluster_scoped()
            .with_status(),
        kind(
            "",
            "v1",
            "secrets",
            "Secret",
            [("data", Schema::map()), ("type", Atomic), ("immutable", Atomic)],
        ),
        kind("", "v1", "configmaps", "ConfigMap", [("data", Schema::map()), ("immutable", Atomic)]),
        kind(
            "",
            "v1",
            "services",
            "Service",
            [
                (
                    "spec",
                    Schema::object([
                        ("ports", Schema::keyed(&["port", "protocol"], port)),
                        ("selector", Atomic),
                        ("type", Atomic),
                        ("sessionAffinity", Atomic),
                        ("internalTrafficPolicy", Atomic),
                        ("clusterIP", Atomic),
                    ]),
                ),
                balancer(),
            ],
        )
        .with_status(),
        kind(
            "",
            "v1",
            "events",
            "Event",
            [
                ("involvedObject", Atomic),
                ("source", scalars(["component", "host"])),
                ("reason", Atomic),
                ("message", Atomic),
                ("type", Atomic),
                ("count", Atomic),
                ("firstTimestamp", Atomic),
                ("lastTimestamp", Atomic),
                ("eventTime", Atomic),
                ("reportingComponent", Atomic),
                ("reportingInstance", Atomic),
                ("action", Atomic),
            ],
        ),
    ]
}

/// What leads requests to Services, and these to Pods.
fn routing() -> Vec<Kind> {
    use Schema::Atomic;

    vec![
        kind(
            "networking.k8s.io",
            "v1",
            "ingresses",
            "Ingress",
            [
                (
                    "spec",
                    Schema::object([
                        ("ingressClassName", Atomic),
                        ("defaultBackend", Schema::Unknown),
                        ("rules", Atomic),
                        ("tls", Atomic),
                    ]),
                ),
                balancer(),
            ],
        )
        .with_status()
        .with_generation(),
        kind(
            "networking.k8s.io",
            "v1",
            "ingressclasses",
            "IngressClass",
            [("spec", Schema::object([("controller", Atomic), ("parameters", Schema::Unknown)]))],
        )
        .cluster_scoped()
        .with_generation(),
        kind(
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            "EndpointSlice",
            [("addressType", Atomic), ("endpoints", Atomic), ("ports", Atomic)],
        )
        .with_generation(),
    ]
}

/// The Gateway API, in as much detail as is written.
fn gateway_api() -> Vec<Kind> {
    use Schema::Atomic;

    let condition =
        || ("conditions", Schema::keyed(&["type"], scalars(["type", "status", "reason", "message"])));
    vec![
        kind(
            "gateway.networking.k8s.io",
            "v1",
            "gateways",
            "Gateway",
            [
                (
                    "spec",
                    Schema::object([
                        ("gatewayClassName", Atomic),
                        ("listeners", Schema::keyed(&["name"], Schema::Unknown)),
                    ]),
                ),
                (
                    "status",
                    Schema::object([
                        ("addresses", Atomic),
                        condition(),
                        ("listeners", Schema::keyed(&["name"], Schema::Unknown)),
                    ]),
                ),
            ],
        )
        .with_status()
        .with_generation(),
        kind(
            "gateway.networking.k8s.io",
            "v1",
            "listenersets",
            "ListenerSet",
            [
                (
                    "spec",
                    Schema::object([
                        ("parentRef", Schema::Unknown),
                        ("listeners", Schema::keyed(&["name"], Schema::Unknown)),
                    ]),
                ),
                (
                    "status",
                    Schema::object([condition(), ("listeners", Schema::keyed(&["name"], Schema::Unknown))]),
                ),
            ],
        )
        .with_status()
        .with_generation(),
        kind(
            "gateway.networking.k8s.io",
            "v1",
            "httproutes",
            "HTTPRoute",
            [
                ("spec", Schema::object([("parentRefs", Atomic), ("hostnames", Atomic), ("rules", Atomic)])),
                ("status", Schema::object([("parents", Atomic)])),
            ],
        )
        .with_status()
        .with_generation(),
    ]
}

/// What has no group with others.
fn other() -> Vec<Kind> {
    vec![
        kind(
            "coordination.k8s.io",
            "v1",
            "leases",
            "Lease",
            [(
                "spec",
                scalars([
                    "holderIdentity",
                    "leaseDurationSeconds",
                    "acquireTime",
                    "renewTime",
                    "leaseTransitions",
                ]),
            )],
        ),
        kind(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            [("spec", Schema::Unknown), ("status", Schema::Unknown)],
        )
        .cluster_scoped()
        .with_status()
        .with_generation(),
    ]
}

fn scalars<const N: usize>(names: [&str; N]) -> Schema {
    Schema::object(names.map(|name| (name, Schema::Atomic)))
}

fn kind<const N: usize>(
    group: &str,
    version: &str,
    plural: &str,
    kind: &str,
    fields: [(&str, Schema); N],
) -> Kind {
    Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        name: kind.to_owned(),
        is_namespaced: true,
        has_status: false,
        has_generation: false,
        schema: with_metadata(Schema::object(fields)),
        open_api: None,
    }
}

impl Kind {
    fn cluster_scoped(self) -> Self {
        Self { is_namespaced: false, ..self }
    }

    fn with_status(self) -> Self {
        Self { has_status: true, ..self }
    }

    fn with_generation(self) -> Self {
        Self { has_generation: true, ..self }
    }
}
