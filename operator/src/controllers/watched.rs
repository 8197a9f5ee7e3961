//! What the operator does with the objects of each kind when a watch reports them: what the cache keeps, and which objects a change
//! enqueues.
//!
//! Knows who depends on whom; must not know what a controller does. Next: `watches.rs` for which kinds are watched.

use std::hash::{DefaultHasher, Hash, Hasher};

use crds::{
    acme::{Challenge, Order},
    annotations::request,
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer},
    gateway::{Gateway, HttpRoute, ListenerSet},
    meta::{CLUSTER_ISSUER_KIND, DEFAULT_ISSUER_KIND},
};
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::Service,
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass},
    },
};
use kube::{Resource, ResourceExt};

use super::enqueue::{enqueue_orders, enqueue_owner, enqueue_waiting_for_issuer};
use crate::{
    cache::{Cache, Indexed},
    context::Context,
    decision::{
        certificate::is_quiet,
        challenge::verdicts,
        ingress_controllers::{Peculiarity, peculiarity},
        problem,
        shim::asks_for_certificates,
    },
    k8s::{Guarded, ObjectEvent, Shrink, Unreadable},
    objects::{
        metadata::{Identity, controller_of, controller_of_kind},
        names, route,
    },
};

/// The reporter of events about objects that can't be read.
const NAME: &str = "acme-operator";

/// How many ListenerSets of a Gateway are reconciled when it changes. Each reads the whole Gateway. Further ones follow within the hour.
pub const MOST_LISTENER_SETS: usize = 256;

/// What the operator does with the objects of a kind when a watch reports them.
pub(super) trait Watched: Shrink {
    /// Takes away a certificate chain, which the cache does not keep.
    fn take_chain(&mut self) -> Option<ByteString> {
        None
    }

    /// Drops what only some settings need, and shares what others have, too.
    fn reduce(&mut self, _: &Context) {}

    /// Updates the indexes, before anything is enqueued.
    fn index(&self, _: &Context, _: ObjectEvent) {}

    /// Enqueues every object whose decision may depend on this one.
    fn enqueue_dependents(&self, cache: &Cache);
}

impl Watched for Ingress {
    /// Most Ingresses of a cluster may have no certificate of ours: their names are enough.
    fn reduce(&mut self, context: &Context) {
        if !asks_for_certificates(&self.metadata, &context.settings.ingress)
            && !self.name_any().starts_with(route::SERVICE)
        {
            (self.spec, self.metadata.annotations, self.metadata.labels) = (None, None, None);
        }
    }

    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
        if event == ObjectEvent::Deleted {
            // The route of a Challenge is created again.
            present_again(self, context);
        }
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        cache.ingresses.enqueuer().enqueue(self);
    }
}

/// Which controller serves an Ingress decides how its challenges are solved.
impl Watched for IngressClass {
    fn enqueue_dependents(&self, cache: &Cache) {
        let controller = self.spec.as_ref().and_then(|spec| spec.controller.as_deref());
        match controller.and_then(peculiarity) {
            Some(Peculiarity::OneIngressPerHost) => cache.ingresses.enqueue_all(),
            // They say where the controller reads their Secrets.
            Some(Peculiarity::OwnSecrets) => cache.certificates.enqueue_all(),
            Some(Peculiarity::PeriodicSync) | None => {}
        }
    }
}

impl Watched for Gateway {
    fn reduce(&mut self, context: &Context) {
        // ListenerSets inherit its issuer.
        if self.spec.allowed_listeners.is_none()
            && !asks_for_certificates(&self.metadata, &context.settings.gateway)
        {
            (self.metadata.annotations, self.metadata.labels) = (None, None);
        }
    }

    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        cache.gateways.enqueuer().enqueue(self);
        let (namespace, name) = (self.namespace_or_empty(), self.name_any());
        let index = &cache.indexes.listener_sets_by_gateway;
        for set in index.first_names(namespace, &name, MOST_LISTENER_SETS) {
            if let Some((namespace, name)) = set.split_once('/') {
                cache.listener_sets.enqueuer().enqueue_named(name, Some(namespace));
            }
        }
    }
}

impl Watched for ListenerSet {
    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        cache.listener_sets.enqueuer().enqueue(self);
    }
}

/// The routes of Challenges. What a controller says about one may be that it routes now.
impl Watched for HttpRoute {
    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
        match event {
            ObjectEvent::Deleted => present_again(self, context),
            ObjectEvent::Applied => wake_challenge(self, context),
            _ => {}
        }
    }

    fn enqueue_dependents(&self, _: &Cache) {}
}

impl Watched for Certificate {
    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
        note_restoration(self, context, event);
        if event == ObjectEvent::Deleted {
            let namespace = ResourceExt::namespace(self).unwrap_or_default();
            context.memory.settled.forget(&namespace, &self.name_any());
        }
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        // Others may wait for the Secret that it has.
        let namespace = ResourceExt::namespace(self).unwrap_or_default();
        for name in cache.certificates_of_secret(&namespace, &self.spec.secret_name) {
            cache.certificates.enqueuer().enqueue_named(&name, Some(&namespace));
        }
        cache.certificates.enqueuer().enqueue(self);
        if !is_quiet(self) {
            // Its annotations say how the challenges of an Order in progress are routed.
            enqueue_orders(cache, &namespace, &self.name_any());
        }
        enqueue_owner(cache.ingresses.enqueuer(), self);
        enqueue_owner(cache.gateways.enqueuer(), self);
        enqueue_owner(cache.listener_sets.enqueuer(), self);
        if controller_of(&self.metadata).is_none() {
            // What was annotated may wait for its name.
            let (name, indexes) = (self.name_any(), &cache.indexes);
            for ingress in indexes.ingresses_by_secret.names(&namespace, &name) {
                cache.ingresses.enqueuer().enqueue_named(&ingress, Some(&namespace));
            }
            for gateway in indexes.gateways_by_secret.names(&namespace, &name) {
                cache.gateways.enqueuer().enqueue_named(&gateway, Some(&namespace));
            }
            for set in indexes.listener_sets_by_secret.names(&namespace, &name) {
                cache.listener_sets.enqueuer().enqueue_named(&set, Some(&namespace));
            }
        }
    }
}

impl Watched for CertificateRequest {
    fn take_chain(&mut self) -> Option<ByteString> {
        self.status.as_mut()?.certificate.take()
    }

    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
        note_restoration(self, context, event);
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        let namespace = self.namespace_or_empty();
        cache.requests.enqueuer().enqueue(self);
        enqueue_owner(cache.certificates.enqueuer(), self);
        // Its Certificate may wait for the name of one that it does not own.
        if let Some(certificate) = self.annotations().get(request::CERTIFICATE_NAME)
            && controller_of(&self.metadata).is_none()
        {
            cache.certificates.enqueuer().enqueue_named(certificate, Some(namespace));
        }
        // Its Order reads whether the request is approved, and may have been reported first.
        for order in cache.indexes.orders_by_request.names(namespace, self.uid_or_empty()) {
            cache.orders.enqueuer().enqueue_named(&order, Some(namespace));
        }
    }
}

impl Watched for Order {
    fn take_chain(&mut self) -> Option<ByteString> {
        self.status.as_mut()?.certificate.take()
    }

    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
        note_restoration(self, context, event);
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        cache.orders.enqueuer().enqueue(self);
        enqueue_owner(cache.requests.enqueuer(), self);
        // Its Challenges read whether the Order asks for them, and may have been reported first.
        let authorizations = self.status.iter().flat_map(|status| status.authorizations.iter().flatten());
        for authorization in authorizations {
            let challenge = names::challenge(&self.name_any(), &authorization.url);
            cache.challenges.enqueuer().enqueue_named(&challenge, ResourceExt::namespace(self).as_deref());
        }
    }
}

impl Watched for Challenge {
    fn reduce(&mut self, context: &Context) {
        context.cache.solvers.share(self);
    }

    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
        context.cache.indexes.challenges_by_namespace.note(self, event != ObjectEvent::Deleted);
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        cache.challenges.enqueuer().enqueue(self);
        enqueue_owner(cache.orders.enqueuer(), self);
        cache.services.enqueuer().enqueue_named(route::SERVICE, ResourceExt::namespace(self).as_deref());
    }
}

impl Watched for Issuer {
    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        cache.issuers.enqueuer().enqueue(self);
        let namespace = ResourceExt::namespace(self);
        enqueue_waiting_for_issuer(cache, DEFAULT_ISSUER_KIND, &self.name_any(), namespace.as_deref());
        // The classes of its solvers decide whether Ingresses are edited.
        if cache.has_class_with(Peculiarity::OneIngressPerHost) {
            cache.ingresses.enqueue_named(|of, _| Some(of) == namespace.as_deref());
        }
    }
}

impl Watched for ClusterIssuer {
    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        cache.cluster_issuers.enqueuer().enqueue(self);
        enqueue_waiting_for_issuer(cache, CLUSTER_ISSUER_KIND, &self.name_any(), None);
        if cache.has_class_with(Peculiarity::OneIngressPerHost) {
            cache.ingresses.enqueue_all();
        }
    }
}

impl Watched for Service {
    fn enqueue_dependents(&self, cache: &Cache) {
        cache.services.enqueuer().enqueue(self);
    }
}

/// The operator's own EndpointSlices; those of the solver are watched apart, in `watches.rs`.
impl Watched for EndpointSlice {
    fn index(&self, context: &Context, event: ObjectEvent) {
        context.cache.indexes.routed_slices_by_namespace.note(self, event != ObjectEvent::Deleted);
        if event == ObjectEvent::Deleted {
            // It is written again.
            let namespace = ResourceExt::namespace(self).unwrap_or_default();
            context.memory.slices.forget(&(namespace, self.name_any()));
        }
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        if let Some(service) = self.labels().get(route::SERVICE_NAME) {
            cache.services.enqueuer().enqueue_named(service, ResourceExt::namespace(self).as_deref());
        }
    }
}

/// Tells the user that an object is ignored, and why.
pub(super) fn skipped<K>(object: &Guarded<K>, context: &Context)
where
    K: Resource<DynamicType = ()>,
{
    if let Guarded(Err(Unreadable { error, .. })) = object {
        context.kube.publish(NAME, &problem::unreadable(&K::kind(&()), error), object, context.now());
    }
}

/// Remembers that a namespace is being restored from a backup: something creates an object whose owner does not exist.
fn note_restoration<K: Resource<DynamicType = ()>>(object: &K, context: &Context, event: ObjectEvent) {
    let namespace = ResourceExt::namespace(object).unwrap_or_default();
    let is_orphan = || {
        let owner = controller_of(object.meta());
        owner.is_some_and(|owner| context.cache.has_owner(&namespace, owner) == Some(false))
    };
    if event == ObjectEvent::Created && is_orphan() {
        context.memory.note_restoration(namespace, context.now());
    }
}

/// Lets the Challenge whose route was deleted present it again.
fn present_again<K: Resource<DynamicType = ()>>(route: &K, context: &Context) {
    let Some(owner) = controller_of_kind::<Challenge>(route.meta()) else { return };
    if let Some(progress) = context.memory.challenges.get(&owner.uid) {
        context.memory.challenges.put(owner.uid.clone(), progress.without_route());
    }
    context.cache.challenges.enqueuer().enqueue_named(&owner.name, route.meta().namespace.as_deref());
}

/// Lets a Challenge be probed if the status of its route says something else than before.
fn wake_challenge(route: &HttpRoute, context: &Context) {
    let Some(owner) = controller_of_kind::<Challenge>(&route.metadata) else { return };
    // Users can write owners of their own routes.
    let challenge = context.cache.challenges.get(route.namespace_or_empty(), &owner.name);
    let is_its = challenge.is_some_and(|challenge| challenge.uid_or_empty() == owner.uid);
    if !is_its || route.name_any() != route::route_name(&owner.name) {
        return;
    }
    let mut hasher = DefaultHasher::new();
    verdicts(route).hash(&mut hasher);
    let (said, uid) = (hasher.finish(), route.uid_or_empty());
    if context.memory.route_statuses.get(uid) == Some(said) {
        return;
    }
    context.memory.route_statuses.put(uid.to_owned(), said);
    context.memory.woken.put(owner.uid.clone(), ());
    context.cache.challenges.enqueuer().enqueue_named(&owner.name, route.metadata.namespace.as_deref());
}

fn update_indexes<K: Indexed>(object: &K, context: &Context, event: ObjectEvent) {
    match event {
        ObjectEvent::Listed | ObjectEvent::Created | ObjectEvent::Applied | ObjectEvent::RolledBack => {
            context.cache.indexes.put(object);
        }
        ObjectEvent::Replaced | ObjectEvent::Deleted => context.cache.indexes.remove(object),
    }
}
