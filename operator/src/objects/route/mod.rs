//! What leads the CA's question to the solver: an Ingress for each Challenge, and in each namespace one Service without a
//! selector, with EndpointSlices that name the solver's Pods.

mod endpoint_slice;
mod ingress;
mod service;

use std::collections::BTreeMap;

use crds::annotations::challenge;

pub use self::{
    endpoint_slice::endpoint_slices,
    ingress::{ingress, patch_to_add, patch_to_remove},
    service::service,
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

fn shared_labels() -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
        (challenge::SOLVER_LABEL.to_owned(), "true".to_owned()),
    ])
}
