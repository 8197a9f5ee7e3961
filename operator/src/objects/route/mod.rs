//! The objects that route the CA's request for a challenge to the solver: an Ingress or HTTPRoute for each Challenge, and for each
//! namespace one Service without a selector, with EndpointSlices that list the solver's Pods. Knative gets a Service for each Challenge.
//!
//! Must not decide whether an object is needed. Next: `ingress.rs`.

mod endpoint_slice;
mod http_route;
mod ingress;
mod service;
mod template;

use std::collections::BTreeMap;

use crds::{acme::Challenge, annotations::challenge, http01};

pub use self::{
    endpoint_slice::{
        emptied_endpoint_slice, endpoint_slice_name, endpoint_slices, is_endpoint_slice_name,
        routed_endpoints,
    },
    http_route::http_route,
    ingress::{PathType, can_be_added_to, ingress, patch_to_add, patch_to_remove, relax_path_type},
    service::{challenge_service, service},
    template::refused_annotation,
};
use super::names;

/// The name of the Service, and the prefix of the names of its EndpointSlices and of routes.
pub const SERVICE: &str = "cm-acme-http-solver";

/// The label of Services to the solver and their EndpointSlices, with its value.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "acme-operator");

/// The label by which an EndpointSlice belongs to a Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The name of the Ingress or HTTPRoute of the Challenge with a name, and of its own Service if it has one.
pub fn route_name(challenge: &str) -> String {
    format!("{SERVICE}-{}", names::short_hash(challenge))
}

/// The labels by which users' tools find the Ingress or HTTPRoute of a Challenge.
pub fn solver_labels(of: &Challenge) -> BTreeMap<String, String> {
    BTreeMap::from(
        [
            (challenge::SOLVER_LABEL, "true".to_owned()),
            (challenge::DOMAIN_LABEL, names::adler32_label(&of.spec.dns_name)),
            (challenge::TOKEN_LABEL, names::adler32_label(&of.spec.token)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

/// The port of the solver and its Services, in the type that Kubernetes has for ports.
const PORT: i32 = http01::SOLVER_PORT as i32;

/// Labels that the operator's flags add to everything that routes challenges, because policies of a cluster may require them.
pub type ExtraLabels = BTreeMap<String, String>;

fn common_labels(extra: &ExtraLabels) -> BTreeMap<String, String> {
    let mut labels = extra.clone();
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    labels.insert(challenge::SOLVER_LABEL.to_owned(), "true".to_owned());
    labels
}
