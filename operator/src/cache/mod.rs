//! What the watches know: every object that the operator reads, and the ways to find one.
//!
//! Knows kinds, indexes and how a reference to an issuer is resolved. Must not write anything, and must not decide. Next: `kind.rs`, then
//! `controllers/watches.rs`, which feeds this.

mod indexes;
mod issuers;
mod kind;
mod secrets;

use std::net::SocketAddr;

use crds::{
    acme::{Challenge, Order},
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer},
    http01,
};
use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{Endpoint, EndpointSlice},
        networking::v1::Ingress,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::ResourceExt;

pub use self::{
    indexes::{Index, Indexed, Indexes},
    issuers::{AnyIssuer, IssuerConfig, IssuerLookup},
    kind::Kind,
    secrets::{SecretRead, SecretReads},
};
use crate::objects::{metadata::is_of_kind, secret_meta::SecretMeta};

/// Every kind that is watched, one field each, and what is derived from them.
#[derive(Default)]
pub struct Cache {
    /// Every Certificate in the cluster.
    pub certificates: Kind<Certificate>,
    /// Every CertificateRequest in the cluster.
    pub requests: Kind<CertificateRequest>,
    /// Every Order in the cluster.
    pub orders: Kind<Order>,
    /// Every Challenge in the cluster.
    pub challenges: Kind<Challenge>,
    /// Every Ingress in the cluster: those of users, and the routes of Challenges.
    pub ingresses: Kind<Ingress>,
    /// Every Issuer in the cluster.
    pub issuers: Kind<Issuer>,
    /// Every ClusterIssuer.
    pub cluster_issuers: Kind<ClusterIssuer>,
    /// Metadata of the Secrets that carry the label of certificates and next keys. No controller reconciles them.
    pub secrets: Kind<SecretMeta>,
    /// The operator's Services in namespaces with Challenges.
    pub services: Kind<Service>,
    /// The operator's EndpointSlices in namespaces with Challenges. No controller reconciles them.
    pub routed_slices: Kind<EndpointSlice>,
    /// The EndpointSlices of the solver's own Service. No controller reconciles them.
    pub solver_slices: Kind<EndpointSlice>,
    /// Objects by something other than their name.
    pub indexes: Indexes,
    /// What Certificates' Secrets contained when they were last read or written.
    pub secret_reads: SecretReads,
    /// The namespace of the Secrets that ClusterIssuers refer to.
    pub cluster_resource_namespace: String,
}

impl Cache {
    /// Whether the owner of an object exists; `None` if its kind is not watched.
    pub fn has_owner(&self, namespace: &str, owner: &OwnerReference) -> Option<bool> {
        let name = owner.name.as_str();
        let uid = if is_of_kind::<Certificate>(owner) {
            self.certificates.get(namespace, name).and_then(|it| it.uid())
        } else if is_of_kind::<CertificateRequest>(owner) {
            self.requests.get(namespace, name).and_then(|it| it.uid())
        } else if is_of_kind::<Ingress>(owner) {
            self.ingresses.get(namespace, name).and_then(|it| it.uid())
        } else {
            return None;
        };
        Some(uid.as_ref() == Some(&owner.uid))
    }

    /// Addresses of the solver's Pods that are ready.
    pub fn solver_addresses(&self) -> Vec<SocketAddr> {
        let slices = self.solver_slices.all();
        let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter());
        let ready = endpoints
            .filter(|it| it.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
        let address = |it: &Endpoint| it.addresses.first()?.parse().ok();
        ready.filter_map(|it| Some(SocketAddr::new(address(it)?, http01::SOLVER_PORT))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knative's Certificates own cert-manager's, and are of the same kind in another group.
    #[test]
    fn owner_of_another_group_is_not_watched() {
        let owner = |api_version: &str| OwnerReference {
            api_version: api_version.to_owned(),
            kind: "Certificate".to_owned(),
            name: "web".to_owned(),
            uid: "1".to_owned(),
            ..OwnerReference::default()
        };
        let cache = Cache::default();
        assert_eq!(cache.has_owner("a", &owner("networking.internal.knative.dev/v1alpha1")), None);
        assert_eq!(cache.has_owner("a", &owner("cert-manager.io/v1")), Some(false));
    }
}
