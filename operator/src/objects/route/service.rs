//! The Service of a namespace with Challenges, and the one of a single Challenge, which only Knative needs.

use std::collections::BTreeMap;

use crds::{acme::Challenge, annotations::challenge};
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{ResourceExt, api::ObjectMeta};

use super::{ExtraLabels, PORT, SERVICE, common_labels, route_name};
use crate::objects::{metadata::owned, names};

/// Builds the Service of a namespace. It has no selector, because the operator writes its EndpointSlices.
pub fn service(namespace: &str, node_port: bool, extra: &ExtraLabels) -> Service {
    let metadata = ObjectMeta {
        name: Some(SERVICE.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(common_labels(extra)),
        ..ObjectMeta::default()
    };
    build(metadata, node_port)
}

/// Builds the Service of a Challenge: like the one of its namespace, with cert-manager's label for its name, and owned by the Challenge.
/// Without the label for its token, cert-manager doesn't take it for its own after a switch back.
pub fn challenge_service(of: &Challenge, extra: &ExtraLabels) -> Service {
    let mut all_labels = common_labels(extra);
    all_labels.insert(challenge::DOMAIN_LABEL.to_owned(), names::adler32_label(&of.spec.dns_name));
    build(ObjectMeta { labels: Some(all_labels), ..owned(&route_name(&of.name_any()), of) }, false)
}

fn build(mut metadata: ObjectMeta, node_port: bool) -> Service {
    // Exempts the port from Istio's STRICT mTLS, as cert-manager does.
    metadata.annotations = Some(BTreeMap::from([("auth.istio.io/8089".to_owned(), "NONE".to_owned())]));
    let port = ServicePort {
        name: Some("http".to_owned()),
        port: PORT,
        target_port: Some(IntOrString::Int(PORT)),
        ..ServicePort::default()
    };
    Service {
        metadata,
        spec: Some(ServiceSpec {
            ports: Some(vec![port]),
            type_: node_port.then(|| "NodePort".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
