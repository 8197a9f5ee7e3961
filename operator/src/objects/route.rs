//! What leads the CA's question to the solver: an Ingress for each Challenge, and in each namespace one Service without a
//! selector, with EndpointSlices that name the solver's Pods.

use std::collections::BTreeMap;

use crds::{
    acme::{Challenge, IngressSolver},
    annotations::{INGRESS_CLASS, challenge},
};
use json_patch::Patch;
use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort, ServiceSpec},
        discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
        networking::v1::{
            HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
            IngressServiceBackend, IngressSpec, ServiceBackendPort,
        },
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{ResourceExt, api::ObjectMeta};
use serde_json::{Value, json};

use super::{
    metadata::{controller, owned},
    names,
};

/// Name of the Service in each namespace, and the start of its EndpointSlices' names.
pub const SERVICE: &str = "cm-acme-http-solver";

/// Label of what is made by this operator for all Challenges of a namespace.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "acme-operator");

/// Label of an EndpointSlice that names its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The port of solver and Service, as cert-manager has it.
pub const PORT: i32 = 8089;

/// Where HTTP-01 is asked, RFC 8555 section 8.3.
pub fn path(token: &str) -> String {
    format!("/.well-known/acme-challenge/{token}")
}

/// Labels of an Ingress that routes a Challenge.
fn labels(of: &Challenge) -> BTreeMap<String, String> {
    BTreeMap::from(
        [
            (challenge::SOLVER_LABEL, "true".to_owned()),
            (challenge::DOMAIN_LABEL, names::adler32_label(&of.spec.dns_name)),
            (challenge::TOKEN_LABEL, names::adler32_label(&of.spec.token)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

/// Path and backend of a Challenge.
pub fn http_path(of: &Challenge) -> HTTPIngressPath {
    let port = ServiceBackendPort { number: Some(PORT), ..ServiceBackendPort::default() };
    HTTPIngressPath {
        path: Some(path(&of.spec.token)),
        path_type: "Exact".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend { name: SERVICE.to_owned(), port: Some(port) }),
            ..IngressBackend::default()
        },
    }
}

/// The host that a Challenge's route is for: none for an IP address, which no rule can name.
pub fn host(of: &Challenge) -> Option<String> {
    let name = &of.spec.dns_name;
    name.parse::<std::net::IpAddr>().is_err().then(|| name.clone())
}

/// The Ingress of a Challenge.
pub fn ingress(of: &Challenge, solver: &IngressSolver) -> Ingress {
    const ALL_SOURCES: &str = "nginx.ingress.kubernetes.io/whitelist-source-range";
    let template = solver.ingress_template.clone().and_then(|template| template.metadata).unwrap_or_default();
    let mut metadata = owned(&format!("{SERVICE}-{}", names::short_hash(&of.name_any())), of);
    let mut all_labels = template.labels.unwrap_or_default();
    all_labels.extend(labels(of));
    let mut annotations = template.annotations.unwrap_or_default();
    if !annotations.keys().any(|name| name.ends_with("/whitelist-source-range")) {
        annotations.insert(ALL_SOURCES.to_owned(), "0.0.0.0/0,::/0".to_owned());
    }
    if let Some(class) = solver.class.as_ref().filter(|class| !class.is_empty()) {
        annotations.insert(INGRESS_CLASS.to_owned(), class.clone());
    }
    metadata.labels = Some(all_labels);
    metadata.annotations = Some(annotations);
    let rule =
        IngressRule { host: host(of), http: Some(HTTPIngressRuleValue { paths: vec![http_path(of)] }) };
    let spec = IngressSpec {
        ingress_class_name: solver.ingress_class_name.clone().filter(|class| !class.is_empty()),
        rules: Some(vec![rule]),
        ..IngressSpec::default()
    };
    Ingress { metadata, spec: Some(spec), status: None }
}

/// What adds a Challenge's path to a user's own Ingress, as a JSON patch (RFC 6902) that fails where somebody else has changed
/// the rules meanwhile; `None` if it is there.
pub fn patch_to_add(ingress: &Ingress, of: &Challenge) -> Option<Patch> {
    let path = json!(http_path(of));
    let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    let Some(position) = rules.iter().position(|rule| rule.host == host(of)) else {
        let rule = json!({ "host": host(of), "http": { "paths": [path] } });
        return patch(if rules.is_empty() {
            vec![json!({ "op": "add", "path": "/spec/rules", "value": [rule] })]
        } else {
            vec![unchanged(rules), json!({ "op": "add", "path": "/spec/rules/-", "value": rule })]
        });
    };
    let paths = rules[position].http.as_ref().map_or(&[][..], |http| &http.paths);
    if paths.iter().any(|there| is_of(there, of)) {
        return None;
    }
    let add = if rules[position].http.is_some() {
        json!({ "op": "add", "path": format!("/spec/rules/{position}/http/paths/0"), "value": path })
    } else {
        json!({ "op": "add", "path": format!("/spec/rules/{position}/http"), "value": { "paths": [path] } })
    };
    patch(vec![unchanged(rules), add])
}

/// What takes it away again, with a rule that has nothing else; `None` if it is not there.
pub fn patch_to_remove(ingress: &Ingress, of: &Challenge) -> Option<Patch> {
    let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    let paths = |rule: &IngressRule| rule.http.as_ref().map(|http| http.paths.clone()).unwrap_or_default();
    let position = rules.iter().position(|rule| paths(rule).iter().any(|path| is_of(path, of)))?;
    let of_rule = paths(&rules[position]);
    let path = of_rule.iter().position(|path| is_of(path, of))?;
    let remove = match (of_rule.len(), rules.len()) {
        (1, 1) => "/spec/rules".to_owned(),
        (1, _) => format!("/spec/rules/{position}"),
        _ => format!("/spec/rules/{position}/http/paths/{path}"),
    };
    patch(vec![unchanged(rules), json!({ "op": "remove", "path": remove })])
}

fn patch(operations: Vec<Value>) -> Option<Patch> {
    serde_json::from_value(Value::Array(operations)).ok()
}

fn unchanged(rules: &[IngressRule]) -> Value {
    json!({ "op": "test", "path": "/spec/rules", "value": rules })
}

/// Whether a path is a Challenge's.
fn is_of(there: &HTTPIngressPath, of: &Challenge) -> bool {
    there.path.as_deref() == Some(&path(&of.spec.token))
}

/// The Service of a namespace. Without a selector: its EndpointSlices are ours.
pub fn service(namespace: &str, node_port: bool) -> Service {
    let port = ServicePort {
        name: Some("http".to_owned()),
        port: PORT,
        target_port: Some(IntOrString::Int(PORT)),
        ..ServicePort::default()
    };
    Service {
        metadata: ObjectMeta {
            name: Some(SERVICE.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(shared_labels()),
            // STRICT mTLS of Istio, as cert-manager has it.
            annotations: Some(BTreeMap::from([("auth.istio.io/8089".to_owned(), "NONE".to_owned())])),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            ports: Some(vec![port]),
            type_: node_port.then(|| "NodePort".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The EndpointSlices of a namespace's Service: those of the solver itself, under other names. They go with the Service.
pub fn endpoint_slices(service: &Service, solver: &[EndpointSlice]) -> Vec<EndpointSlice> {
    solver.iter().map(|slice| endpoint_slice(service, slice)).collect()
}

fn endpoint_slice(service: &Service, of: &EndpointSlice) -> EndpointSlice {
    let mut labels = shared_labels();
    labels.insert(SERVICE_NAME.to_owned(), SERVICE.to_owned());
    let endpoints = of.endpoints.iter().map(|endpoint| {
        // Who the Pod is and where it runs is nothing to do with the namespace; its address and its state are.
        Endpoint {
            addresses: endpoint.addresses.clone(),
            conditions: endpoint.conditions.clone(),
            ..Endpoint::default()
        }
    });
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{SERVICE}-{}", names::short_hash(&of.name_any()))),
            namespace: service.namespace(),
            labels: Some(labels),
            owner_references: controller(service).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        address_type: of.address_type.clone(),
        endpoints: endpoints.collect(),
        ports: Some(vec![EndpointPort {
            name: Some("http".to_owned()),
            port: Some(PORT),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

fn shared_labels() -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
        (challenge::SOLVER_LABEL.to_owned(), "true".to_owned()),
    ])
}
