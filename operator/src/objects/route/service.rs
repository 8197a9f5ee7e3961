//! The Service of a namespace with Challenges.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::api::ObjectMeta;

use super::{ExtraLabels, PORT, SERVICE, shared_labels};

/// Builds the Service of a namespace. It has no selector, because the operator writes its EndpointSlices.
pub fn service(namespace: &str, node_port: bool, extra: &ExtraLabels) -> Service {
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
            labels: Some(shared_labels(extra)),
            // Exempts the port from Istio's STRICT mTLS, as cert-manager does.
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
