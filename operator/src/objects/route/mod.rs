//! Routes from the CA's request to the solver: an Ingress per Challenge, and in each namespace with Challenges one Service without a
//! selector whose EndpointSlices contain the addresses of the solver's Pods.

mod endpoint_slice;
mod ingress;
mod service;

use std::collections::BTreeMap;

use crds::{annotations::challenge, http01};

pub use self::{
    endpoint_slice::endpoint_slices,
    ingress::{ingress, patch_to_add, patch_to_remove},
    service::service,
};

/// Name of the Service in each namespace, and the start of its EndpointSlices' names.
pub const SERVICE: &str = "cm-acme-http-solver";

/// Label of the objects that all Challenges of a namespace share.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "acme-operator");

/// Label of an EndpointSlice that names its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The port of the solver and its Services, in the type that Kubernetes has for ports.
const PORT: i32 = http01::SOLVER_PORT as i32;

fn shared_labels() -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()),
        (challenge::SOLVER_LABEL.to_owned(), "true".to_owned()),
    ])
}
