//! What the cache keeps of each kind.
//!
//! Fields that decisions read or that are written back stay. Chains are taken away by the watch: `memory/chains.rs` has those that were
//! just issued.

use crds::{
    acme::{Challenge, Order},
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer},
    gateway::{Gateway, HttpRoute, ListenerSet},
};
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::Service,
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass, IngressSpec},
    },
};

use crate::{
    decision::order,
    k8s::Shrink,
    objects::{metadata::controller_of_kind, route},
};

impl Shrink for Certificate {
    /// There are thousands of them: gives back the spare room of their lists.
    fn shrink(&mut self) {
        if let Some(status) = &mut self.status {
            status.conditions.shrink_to_fit();
        }
        if let Some(names) = &mut self.spec.dns_names {
            names.shrink_to_fit();
        }
        if let Some(usages) = &mut self.spec.usages {
            usages.shrink_to_fit();
        }
    }
}

impl Shrink for CertificateRequest {
    /// Who has requested it concerns only approvers. That there is a certificate of the CA stays known: `controllers/chains.rs` reads it.
    fn shrink(&mut self) {
        let spec = &mut self.spec;
        (spec.username, spec.uid, spec.groups, spec.extra) = (None, None, None, None);
        if let Some(status) = &mut self.status {
            status.ca = status.ca.take().map(|_| ByteString::default());
        }
    }
}

impl Shrink for Order {
    /// One that is final needs nothing of the CA any more. Its CSR is its request's.
    fn shrink(&mut self) {
        if let Some(status) = &mut self.status
            && order::is_final(status.state)
        {
            (status.authorizations, status.finalize_url) = (None, None);
            if controller_of_kind::<CertificateRequest>(&self.metadata).is_some() {
                self.spec.request = ByteString::default();
            }
        }
    }
}

impl Shrink for Ingress {
    /// Rules belong to the ingress controller, except in the route of a Challenge. The class says which controller that is.
    fn shrink(&mut self) {
        if self.metadata.name.as_ref().is_some_and(|name| name.starts_with(route::SERVICE)) {
            return;
        }
        if let Some(spec) = &mut self.spec {
            let (ingress_class_name, tls) = (spec.ingress_class_name.take(), spec.tls.take());
            *spec = IngressSpec { ingress_class_name, tls, ..IngressSpec::default() };
        }
    }
}

impl Shrink for IngressClass {}
impl Shrink for Gateway {}
impl Shrink for ListenerSet {}
impl Shrink for HttpRoute {}
impl Shrink for Challenge {}
impl Shrink for Issuer {}
impl Shrink for ClusterIssuer {}
impl Shrink for Service {}
impl Shrink for EndpointSlice {}

#[cfg(test)]
mod tests {
    use crds::fixtures;
    use serde_json::{from_value, json};

    use super::*;
    use crate::objects::{metadata::controller, order::has_csr_of};

    /// `kubectl get ingress` of a large cluster is megabytes, most of it rules.
    #[test]
    fn users_ingress_is_kept_without_rules() {
        let ingress = |name: &str| -> Ingress {
            let rule = json!({ "host": "web.example.test", "http": { "paths": [] } });
            let tls = json!([{ "hosts": ["web.example.test"], "secretName": "web" }]);
            let mut ingress: Ingress = from_value(json!({
                "metadata": { "name": name },
                "spec": { "ingressClassName": "nginx", "rules": [rule], "tls": tls },
            }))
            .expect("an Ingress");
            ingress.shrink();
            ingress
        };
        let spec = json!(ingress("web").spec);
        let tls = json!([{ "hosts": ["web.example.test"], "secretName": "web" }]);
        assert_eq!(spec, json!({ "ingressClassName": "nginx", "tls": tls }));
        let route = ingress(&format!("{}-0123456789", route::SERVICE));
        assert!(route.spec.is_some_and(|spec| spec.rules.is_some() && spec.ingress_class_name.is_some()));
    }

    /// A status is written as the difference from what is cached: what the cache lacks stays as it is.
    #[test]
    fn dropped_fields_are_never_written() {
        use crate::objects::merge_diff;

        let mut order = fixtures::order("web", |it| {
            it.status = from_value(json!({
                "state": "invalid", "reason": "old", "url": "https://ca.test/1", "finalizeURL": "https://ca.test/2",
                "authorizations": [{ "url": "https://ca.test/3" }],
            }))
            .expect("a status");
        });
        order.shrink();
        let old = json!(order.status);
        let mut new = order.status.expect("a status");
        new.reason = None;
        assert_eq!(merge_diff(&old, &json!(new)), Some(json!({ "reason": null })));
    }

    /// The request finds its Order by that.
    #[test]
    fn final_order_still_belongs_to_its_request() {
        let request = fixtures::certificate_request("web-1", |it| {
            it.metadata.uid = Some("1".to_owned());
            it.spec.request = ByteString(vec![1]);
        });
        let order = |state: &str| {
            let mut order = fixtures::order("web-1-1", |it| {
                it.metadata.owner_references = controller(&request).map(|owner| vec![owner]);
                it.spec.request = request.spec.request.clone();
                it.status = from_value(json!({ "state": state })).ok();
            });
            order.shrink();
            order
        };
        assert!(order("valid").spec.request.0.is_empty() && has_csr_of(&order("valid"), &request));
        assert_eq!(order("ready").spec.request, request.spec.request, "it is still needed");
    }
}
