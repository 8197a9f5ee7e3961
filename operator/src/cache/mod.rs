//! What the watches know: every object that the operator reads, and the ways to find one.
//!
//! Knows kinds, indexes and how a reference to an issuer is resolved. Must not write anything, and must not decide. Next: `kind.rs`, then
//! `controllers/watches.rs`, which feeds this.

mod by_namespace;
mod gauges;
mod indexes;
mod issuers;
mod kind;
mod packed;
mod secrets;
mod shrink;
mod solvers;
mod store;

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use crds::{
    acme::{Challenge, Order},
    annotations::INGRESS_CLASS,
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer},
    gateway::{Gateway, HttpRoute, ListenerSet},
    http01,
};
use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{Endpoint, EndpointSlice},
        networking::v1::{Ingress, IngressClass},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::ResourceExt;

pub use self::{
    by_namespace::ByNamespace,
    gauges::{Gauge, Gauges},
    indexes::{Index, Indexed, Indexes, IssuerIndex},
    issuers::{AnyIssuer, IssuerConfig, IssuerLookup},
    kind::Kind,
    secrets::{SecretRead, SecretReads},
    solvers::Solvers,
    store::{Change, Store, Writer},
};
use crate::{
    decision::{
        certificate::{self, MOST_RIVALS},
        ingress_controllers::{ClassLookup, Peculiarity, peculiarity},
        order, request,
    },
    k8s::Definition,
    objects::{
        metadata::{Identity, controller_of_kind, is_of_kind},
        order::{has_csr_of, with_routing_of},
        secret_meta::SecretMeta,
    },
};

/// Every kind that is watched, one field each, and what is derived from them.
pub struct Cache {
    /// Every Certificate in the cluster. Those that are issued are packed.
    pub certificates: Kind<Certificate>,
    /// Every CertificateRequest in the cluster, without chain and requester. Those that are final are packed.
    pub requests: Kind<CertificateRequest>,
    /// Every Order in the cluster, without chain. Those that are final are packed, and lack authorizations and CSR.
    pub orders: Kind<Order>,
    /// Every Challenge in the cluster. Those with equal solvers share one.
    pub challenges: Kind<Challenge>,
    /// Every Ingress in the cluster, packed: those of users, without rules, and the routes of Challenges.
    pub ingresses: Kind<Ingress>,
    /// Every IngressClass, if they may be read. No controller reconciles them.
    pub ingress_classes: Kind<IngressClass>,
    /// Every Gateway in the cluster, packed.
    pub gateways: Kind<Gateway>,
    /// Every ListenerSet in the cluster, packed.
    pub listener_sets: Kind<ListenerSet>,
    /// The routes of Challenges: HTTPRoutes with the label of those. No controller reconciles them.
    pub http_routes: Kind<HttpRoute>,
    /// Which kinds of the Gateway API exist.
    pub definitions: Definitions,
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
    /// The solvers of Challenges.
    pub solvers: Solvers,
    /// What Certificates' Secrets contained when they were last read or written.
    pub secret_reads: SecretReads,
    /// The namespace of the Secrets that ClusterIssuers refer to.
    pub cluster_resource_namespace: String,
}

/// The CRDs of the Gateway API, which may be installed and removed at any time.
#[derive(Debug, Default)]
pub struct Definitions {
    /// That of Gateways.
    pub gateways: Definition,
    /// That of HTTPRoutes.
    pub http_routes: Definition,
    /// That of ListenerSets.
    pub listener_sets: Definition,
}

/// The name of an Ingress's class; `None` if it names none.
pub fn class_name(ingress: &Ingress) -> Option<&str> {
    let annotation = ingress.metadata.annotations.as_ref().and_then(|all| all.get(INGRESS_CLASS));
    let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
    field.or(annotation).map(String::as_str)
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            certificates: Kind::packed_if(certificate::is_quiet),
            requests: Kind::packed_if(|it| it.status.as_ref().is_some_and(request::is_final)),
            orders: Kind::packed_if(|it| order::is_final(it.status.as_ref().and_then(|status| status.state))),
            challenges: Kind::default(),
            ingresses: Kind::packed(),
            ingress_classes: Kind::default(),
            gateways: Kind::packed(),
            listener_sets: Kind::packed(),
            http_routes: Kind::default(),
            definitions: Definitions::default(),
            issuers: Kind::default(),
            cluster_issuers: Kind::default(),
            secrets: Kind::default(),
            services: Kind::default(),
            routed_slices: Kind::default(),
            solver_slices: Kind::default(),
            indexes: Indexes::default(),
            solvers: Solvers::default(),
            secret_reads: SecretReads::default(),
            cluster_resource_namespace: String::new(),
        }
    }
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
        } else if is_of_kind::<Gateway>(owner) && !self.definitions.gateways.is_missing() {
            self.gateways.get(namespace, name).and_then(|it| it.uid())
        } else if is_of_kind::<ListenerSet>(owner) && !self.definitions.listener_sets.is_missing() {
            self.listener_sets.get(namespace, name).and_then(|it| it.uid())
        } else {
            return None;
        };
        Some(uid.as_ref() == Some(&owner.uid))
    }

    /// The Order that serves a CertificateRequest: the one that it owns. cert-manager, or an earlier version, may have named it
    /// otherwise. Of several, the one that was placed, then the oldest.
    pub fn order_of(&self, request: &CertificateRequest) -> Option<Arc<Order>> {
        let (namespace, uid) = (request.namespace_or_empty(), request.uid_or_empty());
        let names = self.indexes.orders_by_request.names(namespace, uid);
        let orders = names.iter().filter_map(|name| self.orders.get(namespace, name));
        let is_its = |order: &Arc<Order>| {
            has_csr_of(order, request)
                && controller_of_kind::<CertificateRequest>(&order.metadata).is_some_and(|it| it.uid == uid)
        };
        orders.filter(is_its).min_by_key(|order| {
            let is_placed = order.status.as_ref().is_some_and(|status| status.url.is_some());
            let created = order.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (!is_placed, created, order.name_any())
        })
    }

    /// The class of an Ingress; `None` if it names none.
    pub fn class_of(&self, ingress: &Ingress) -> Option<ClassLookup> {
        class_name(ingress).map(|class| self.class(class))
    }

    /// The names of all IngressClasses, sorted. Empty if they may not be read.
    pub fn class_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.ingress_classes.all().iter().map(|class| (**class).name_any()).collect();
        names.sort_unstable();
        names
    }

    /// What is known about the controller of an IngressClass with this name.
    pub fn class(&self, name: &str) -> ClassLookup {
        let Some(class) = self.ingress_classes.get_cluster_scoped(name) else { return ClassLookup::Unknown };
        let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
        ClassLookup::Known(controller.and_then(peculiarity))
    }

    /// Whether there is an IngressClass whose controller has such a peculiarity.
    pub fn has_class_with(&self, wanted: Peculiarity) -> bool {
        let controller = |class: &IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.clone());
        self.ingress_classes.any(|class| controller(class).and_then(|it| peculiarity(&it)) == Some(wanted))
    }

    /// An Order whose challenges are routed as its Certificate says now.
    pub fn routed<'a>(&self, order: &'a Order) -> Cow<'a, Order> {
        let certificate = self.certificate_of(order);
        certificate.map_or(Cow::Borrowed(order), |certificate| with_routing_of(order, &certificate))
    }

    /// The Order of a Challenge.
    pub fn order_of_challenge(&self, challenge: &Challenge) -> Option<Arc<Order>> {
        let owner = controller_of_kind::<Order>(&challenge.metadata)?;
        self.orders.get(challenge.namespace_or_empty(), &owner.name)
    }

    /// The Certificate that an Order is for.
    pub fn certificate_of(&self, order: &Order) -> Option<Arc<Certificate>> {
        let namespace = order.namespace_or_empty();
        let owner = controller_of_kind::<CertificateRequest>(&order.metadata)?;
        let request = self.requests.get(namespace, &owner.name)?;
        let owner = controller_of_kind::<Certificate>(&request.metadata)?;
        self.certificates.get(namespace, &owner.name).filter(|it| it.uid_or_empty() == owner.uid)
    }

    /// The names of Certificates with a Secret: all, or enough to know that there are too many.
    pub fn certificates_of_secret(&self, namespace: &str, secret: &str) -> Vec<String> {
        self.indexes.certificates_by_secret.first_names(namespace, secret, MOST_RIVALS + 2)
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
    use crds::{acme::OrderStatus, fixtures};

    use super::*;
    use crate::objects::metadata::controller;

    /// cert-manager has named an Order in another way than the operator does, and both have begun one.
    #[test]
    fn request_keeps_the_order_that_was_placed() {
        let cache = Cache::default();
        let request = fixtures::certificate_request("web-1", |it| {
            (it.metadata.namespace, it.metadata.uid) = (Some("a".to_owned()), Some("1".to_owned()));
        });
        let mut writer = cache.orders.take_writer().expect("the first call");
        let mut add = |name: &str, owner: &CertificateRequest, url: Option<&str>| {
            let order = fixtures::order(name, |it| {
                it.metadata.namespace = Some("a".to_owned());
                it.metadata.owner_references = controller(owner).map(|owner| vec![owner]);
                it.spec.request = owner.spec.request.clone();
                it.status = Some(OrderStatus { url: url.map(ToOwned::to_owned), ..OrderStatus::default() });
            });
            cache.indexes.put(&order);
            writer.put(&Arc::new(order));
        };
        assert!(cache.order_of(&request).is_none());
        add("web-1-b", &request, None);
        let found = || cache.order_of(&request).map(|order| order.name_any());
        assert_eq!(found().as_deref(), Some("web-1-b"));
        add("web-1-c", &request, Some("https://acme.example.test/order/1"));
        assert_eq!(found().as_deref(), Some("web-1-c"), "a second order is placed");
        let other = fixtures::certificate_request("web-1", |it| {
            (it.metadata.namespace, it.metadata.uid) = (Some("a".to_owned()), Some("2".to_owned()));
        });
        add("web-1-a", &other, Some("https://acme.example.test/order/2"));
        assert_eq!(found().as_deref(), Some("web-1-c"), "the Order is another request's");
    }

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
