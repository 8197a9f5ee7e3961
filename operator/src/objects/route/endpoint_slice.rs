//! The EndpointSlices of a Service that leads to the solver.

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
};
use kube::{ResourceExt, api::ObjectMeta};

use super::{ExtraLabels, PORT, SERVICE, SERVICE_NAME, common_labels};
use crate::objects::{metadata::controller, names};

/// Builds the EndpointSlices of a Service in a namespace from those of the solver's own Service. The Service owns them, so they are
/// deleted with it.
pub fn endpoint_slices(
    service: &Service,
    solver: &[EndpointSlice],
    extra: &ExtraLabels,
) -> Vec<EndpointSlice> {
    solver.iter().map(|slice| endpoint_slice(service, slice, extra)).collect()
}

/// The name of the EndpointSlice of a namespace's shared Service that is built from one of the solver's.
pub fn endpoint_slice_name(of: &EndpointSlice) -> String {
    slice_name(SERVICE, of)
}

fn slice_name(service: &str, of: &EndpointSlice) -> String {
    format!("{service}-{}", names::short_hash(&of.name_any()))
}

/// Whether an EndpointSlice may have this name.
pub fn is_endpoint_slice_name(name: &str) -> bool {
    name.strip_prefix(SERVICE).is_some_and(|rest| rest.starts_with('-'))
}

/// The endpoints that are built from those of the solver. A namespace needs a Pod's address and state, not its name or its node.
pub fn routed_endpoints(of: &EndpointSlice) -> Vec<Endpoint> {
    let routed = |endpoint: &Endpoint| Endpoint {
        addresses: endpoint.addresses.clone(),
        conditions: endpoint.conditions.clone(),
        ..Endpoint::default()
    };
    of.endpoints.iter().map(routed).collect()
}

/// Builds an EndpointSlice of a namespace's Service whose Pods are gone.
pub fn emptied_endpoint_slice(
    service: &Service,
    existing: &EndpointSlice,
    extra: &ExtraLabels,
) -> EndpointSlice {
    build(service, existing.name_any(), existing.address_type.clone(), Vec::new(), extra)
}

fn endpoint_slice(service: &Service, of: &EndpointSlice, extra: &ExtraLabels) -> EndpointSlice {
    build(service, slice_name(&service.name_any(), of), of.address_type.clone(), routed_endpoints(of), extra)
}

fn build(
    service: &Service,
    name: String,
    address_type: String,
    endpoints: Vec<Endpoint>,
    extra: &ExtraLabels,
) -> EndpointSlice {
    let mut labels = common_labels(extra);
    labels.insert(SERVICE_NAME.to_owned(), service.name_any());
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: service.namespace(),
            labels: Some(labels),
            owner_references: controller(service).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        address_type,
        endpoints,
        ports: Some(vec![EndpointPort {
            name: Some("http".to_owned()),
            port: Some(PORT),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}
