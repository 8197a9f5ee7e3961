//! The HTTPRoute of a Challenge.

use std::net::IpAddr;

use crds::{
    acme::{Challenge, GatewaySolver},
    gateway::{BackendReference, HttpRoute, HttpRouteSpec, PathMatch, RouteMatch, RouteRule},
    http01,
};
use kube::ResourceExt;

use super::{ExtraLabels, PORT, SERVICE, route_name, solver_labels};
use crate::objects::{challenge::normalized, metadata::owned};

/// Builds the HTTPRoute of a Challenge. All fields that the Gateway API has defaults for are set, so that they can be compared.
pub fn http_route(of: &Challenge, solver: &GatewaySolver, extra: &ExtraLabels) -> HttpRoute {
    let namespace = of.namespace().unwrap_or_default();
    let mut metadata = owned(&route_name(&of.name_any()), of);
    let mut labels = extra.clone();
    labels.extend(solver.labels.clone().unwrap_or_default());
    labels.extend(solver_labels(of));
    metadata.labels = Some(labels);
    let mut parent_refs = Vec::new();
    for parent in solver.parent_refs.iter().flatten() {
        let parent = normalized(parent, &namespace);
        if !parent_refs.contains(&parent) {
            parent_refs.push(parent);
        }
    }
    let path = PathMatch { type_: "Exact".to_owned(), value: http01::path(&of.spec.token) };
    let backend = BackendReference {
        group: String::new(),
        kind: "Service".to_owned(),
        name: SERVICE.to_owned(),
        namespace: Some(namespace),
        port: Some(PORT),
        weight: Some(1),
    };
    // A route can't have an IP address as its name.
    let name = &of.spec.dns_name;
    let hostnames = name.parse::<IpAddr>().is_err().then(|| vec![name.clone()]);
    let rule = RouteRule { matches: vec![RouteMatch { path: Some(path) }], backend_refs: vec![backend] };
    HttpRoute { metadata, spec: HttpRouteSpec { hostnames, parent_refs, rules: vec![rule] }, status: None }
}
