//! What the operator reads of the Gateway API, and the HTTPRoute that it applies: `gateway.networking.k8s.io/v1`.
//!
//! The CRDs belong to the Gateway API, so these types have only the fields that are used, and every value that may be new in a later
//! version is text. They must never be written back as a whole.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use crate::acme::ParentReference;

/// The API group of all kinds here.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// What receives traffic, and for which names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "Gateway",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Which ListenerSets may add listeners; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_listeners: Option<AllowedListeners>,
    /// What it listens to, at most 64.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

/// Which ListenerSets may add listeners to a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedListeners {
    /// In which namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<ListenerNamespaces>,
}

/// The namespaces of the ListenerSets that a Gateway accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerNamespaces {
    /// `All`, `Same`, `Selector`, or `None`, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// More listeners of a Gateway, in an object of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "ListenerSet",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSetSpec {
    /// What it listens to, at most 64.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// The Gateway.
    pub parent_ref: ListenerSetParent,
}

/// The Gateway of a ListenerSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSetParent {
    /// The name.
    pub name: String,
    /// The namespace; by default that of the ListenerSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A port of a Gateway, with the names that are served there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Which routes may attach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_routes: Option<AllowedRoutes>,
    /// The name whose requests it accepts, which may begin with `*.`; all if it is absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Its name, unique in the object.
    #[serde(default)]
    pub name: String,
    /// The port.
    #[serde(default)]
    pub port: i32,
    /// `HTTP`, `HTTPS`, `TLS`, or another one.
    #[serde(default)]
    pub protocol: String,
    /// Which certificate it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedRoutes {
    /// In which namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<RouteNamespaces>,
}

/// The namespaces of the routes that a listener accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteNamespaces {
    /// `All`, `Selector`, or `Same`, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// The TLS settings of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// The Secrets with the certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_refs: Vec<SecretReference>,
    /// `Terminate` or `Passthrough`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A reference to an object, usually a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    /// The API group; empty for Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind; by default `Secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name.
    pub name: String,
    /// The namespace; by default that of the object that has the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Which requests of a Gateway lead to which Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource)]
#[kube(
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "HTTPRoute",
    root = "HttpRoute",
    plural = "httproutes",
    namespaced,
    schema = "disabled",
    status = "HttpRouteStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// The names; all if it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostnames: Option<Vec<String>>,
    /// The Gateways, ListenerSets, or other resources whose requests it routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Which requests, and where to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RouteRule>,
}

/// A rule of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteRule {
    /// Where the requests are sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<BackendReference>,
    /// Which requests; any one has to match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<RouteMatch>,
}

/// Which requests a rule is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMatch {
    /// Their path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
}

/// A path that is matched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMatch {
    /// `Exact`, `PathPrefix`, or `RegularExpression`.
    #[serde(default, rename = "type")]
    pub type_: String,
    /// The path.
    #[serde(default)]
    pub value: String,
}

/// Where requests are sent. All fields that have a default are set, so that an object that was read equals the one that was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendReference {
    /// The API group; empty for a Service.
    #[serde(default)]
    pub group: String,
    /// The kind.
    #[serde(default)]
    pub kind: String,
    /// The name.
    pub name: String,
    /// The namespace; by default that of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// The share of the requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
}

/// What controllers say about an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRouteStatus {
    /// One entry for each controller and parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<RouteParentStatus>,
}

/// What a controller says about an HTTPRoute and one of its parents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// `Accepted`, `ResolvedRefs`, and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<RouteCondition>,
    /// The name of the controller, such as `traefik.io/gateway-controller`.
    #[serde(default)]
    pub controller_name: String,
    /// The parent, as the route names it.
    #[serde(default)]
    pub parent_ref: ParentReference,
}

/// A condition of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteCondition {
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The generation that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// For programs.
    #[serde(default)]
    pub reason: String,
    /// `True`, `False`, or `Unknown`.
    #[serde(default)]
    pub status: String,
    /// What it is about.
    #[serde(default, rename = "type")]
    pub type_: String,
}

#[cfg(test)]
mod tests {
    use kube::Resource;
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn kinds_have_the_names_of_the_gateway_api() {
        let names = [
            (Gateway::kind(&()), Gateway::plural(&())),
            (ListenerSet::kind(&()), ListenerSet::plural(&())),
            (HttpRoute::kind(&()), HttpRoute::plural(&())),
        ];
        let names = names.map(|(kind, plural)| format!("{kind} {plural} {}", Gateway::api_version(&())));
        assert_eq!(
            names,
            ["Gateway gateways", "ListenerSet listenersets", "HTTPRoute httproutes"]
                .map(|name| format!("{name} {GROUP}/v1"))
        );
    }

    /// A later version has more fields and values. An object without some of them must be read, too.
    #[test]
    fn objects_of_other_versions_are_read() {
        let gateway: Gateway = from_value(json!({
            "metadata": { "name": "web" },
            "spec": {
                "gatewayClassName": "traefik",
                "infrastructure": {},
                "listeners": [{ "name": "a", "port": 443, "protocol": "example.com/new", "tls": { "mode": "New", "more": {} } }],
            },
        }))
        .expect("a Gateway");
        assert_eq!(gateway.spec.listeners[0].protocol, "example.com/new");
        let route: HttpRoute = from_value(json!({
            "metadata": { "name": "web" },
            "spec": { "rules": [{ "filters": [], "backendRefs": [{ "name": "web", "filters": [] }] }] },
            "status": { "parents": [{ "parentRef": { "name": "web" }, "conditions": [{ "type": "Accepted" }] }] },
        }))
        .expect("an HTTPRoute");
        assert_eq!(route.status.expect("a status").parents[0].conditions[0].type_, "Accepted");
    }
}
