//! The EndpointSlices of a namespace's Service.

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
};
use kube::{ResourceExt, api::ObjectMeta};

use super::{ExtraLabels, PORT, SERVICE, SERVICE_NAME, shared_labels};
use crate::objects::{metadata::controller, names};

/// Builds the EndpointSlices of a namespace's Service from those of the solver's own Service. The Service owns them, so they are
/// deleted with it.
pub fn endpoint_slices(
    service: &Service,
    solver: &[EndpointSlice],
    extra: &ExtraLabels,
) -> Vec<EndpointSlice> {
    solver.iter().map(|slice| endpoint_slice(service, slice, extra)).collect()
}

fn endpoint_slice(service: &Service, of: &EndpointSlice, extra: &ExtraLabels) -> EndpointSlice {
    let mut labels = shared_labels(extra);
    labels.insert(SERVICE_NAME.to_owned(), SERVICE.to_owned());
    let endpoints = of.endpoints.iter().map(|endpoint| {
        // The namespace needs a Pod's address and state, not its name or its node.
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
