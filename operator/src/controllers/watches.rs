//! Which kinds are watched, which controller reconciles each, and which objects a change enqueues.
//!
//! To add a kind: a field in [`Cache`], an `impl Watched` here, and its lines in [`register`]. Knows who depends on
//! whom; must not know what a controller does. Next: `mod.rs` for how an object is reconciled.

use std::{
    fmt::Debug,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crds::{
    acme::{Challenge, Order},
    annotations::{request, secret},
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer},
    meta::{CLUSTER_ISSUER_KIND, DEFAULT_ISSUER_KIND},
};
use futures::future::join_all;
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::{Secret, Service},
        discovery::v1::EndpointSlice,
        networking::v1::Ingress,
    },
};
use kube::{
    Resource, ResourceExt,
    api::PartialObjectMeta,
    runtime::{reflector::Lookup, watcher::Config},
};
use serde::de::DeserializeOwned;

use super::{
    Controller, certificate, challenge,
    enqueue::{enqueue_by_secret, enqueue_owner, enqueue_waiting_for_issuer},
    issuer, order,
    report::Reports,
    request as request_controller, run, scope,
    shim::{self, Shimmed},
    solver_endpoints,
    tasks::{Task, join_any},
};
use crate::{
    cache::{Cache, Indexed, Kind},
    context::Context,
    decision::{Requeue, fair_queue::Slots, problem, shim::asks_for_certificates},
    error::ReconcileError,
    k8s::{Guarded, ObjectEvent, Presence, Scope, Shrink, Unreadable, Watch},
    memory::sweep,
    metrics::Metrics,
    objects::{
        metadata::{Identity, controller_of, controller_of_kind},
        names, route,
        secret_meta::SecretMeta,
    },
};

/// The reporter of events about objects that can't be read.
const NAME: &str = "acme-operator";

/// Where a kind is watched.
type Scopes<K> = Vec<Scope<Guarded<K>>>;

/// How to find a kind in the cache.
type Select<K> = fn(&Cache) -> &Kind<K>;

/// What the operator does with the objects of a kind when a watch reports them.
trait Watched: Shrink {
    /// Takes away a certificate chain, which the cache does not keep.
    fn take_chain(&mut self) -> Option<ByteString> {
        None
    }

    /// Drops what only some settings need.
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
        if event == ObjectEvent::Deleted
            && let Some(owner) = controller_of_kind::<Challenge>(&self.metadata)
        {
            // The route of a Challenge is created again.
            let namespace = ResourceExt::namespace(self);
            if let Some(progress) = context.memory.challenges.get(&owner.uid) {
                context.memory.challenges.put(owner.uid.clone(), progress.without_route());
            }
            context.cache.challenges.enqueuer().enqueue_named(&owner.name, namespace.as_deref());
        }
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        cache.ingresses.enqueuer().enqueue(self);
    }
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
        enqueue_owner(cache.ingresses.enqueuer(), self);
        if controller_of(&self.metadata).is_none() {
            // An Ingress may wait for its name.
            for name in cache.indexes.ingresses_by_secret.names(&namespace, &self.name_any()) {
                cache.ingresses.enqueuer().enqueue_named(&name, Some(&namespace));
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
    }
}

impl Watched for ClusterIssuer {
    fn index(&self, context: &Context, event: ObjectEvent) {
        update_indexes(self, context, event);
    }

    fn enqueue_dependents(&self, cache: &Cache) {
        cache.cluster_issuers.enqueuer().enqueue(self);
        enqueue_waiting_for_issuer(cache, CLUSTER_ISSUER_KIND, &self.name_any(), None);
    }
}

impl Watched for Service {
    fn enqueue_dependents(&self, cache: &Cache) {
        cache.services.enqueuer().enqueue(self);
    }
}

/// The operator's own EndpointSlices; those of the solver are watched by [`Registry::watch_solver`].
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
        cache.services.enqueuer().enqueue_named(route::SERVICE, ResourceExt::namespace(self).as_deref());
    }
}

/// Tells the user that an object is ignored, and why.
fn skipped<K>(object: &Guarded<K>, context: &Context)
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

fn update_indexes<K: Indexed>(object: &K, context: &Context, event: ObjectEvent) {
    match event {
        ObjectEvent::Listed | ObjectEvent::Created | ObjectEvent::Applied | ObjectEvent::RolledBack => {
            context.cache.indexes.put(object);
        }
        ObjectEvent::Replaced | ObjectEvent::Deleted => context.cache.indexes.remove(object),
    }
}

/// Runs all watches and, once every kind has been listed, all controllers, until one of them ends, which happens only when the process
/// ends. `ready` is called once everything is listed.
pub async fn start(context: Arc<Context>, metrics: Metrics, ready: impl FnOnce()) {
    let Registry { listed, watches, lists, controllers, .. } = register(&context, metrics);
    let controlling = async {
        join_all(lists).await;
        // Nothing has been enqueued so far. From now on every change is, and each controller starts with all objects of its kind.
        listed.store(true, Ordering::Release);
        for challenge in context.cache.challenges.all() {
            // An Order that is final may have to delete them.
            enqueue_owner(context.cache.orders.enqueuer(), &*challenge);
        }
        tracing::info!(
            certificates = context.cache.certificates.len(),
            ingresses = context.cache.ingresses.len(),
            "listed all objects"
        );
        ready();
        join_any(controllers).await;
    };
    tokio::select! {
        () = join_any(watches) => {}
        () = controlling => {}
    }
}

/// Registers every kind: what is watched, and by whom it is reconciled, in how many slots.
fn register(context: &Arc<Context>, metrics: Metrics) -> Registry {
    let all = Config::default;
    let own = || all().labels(&format!("{}={}", route::MANAGED_BY.0, route::MANAGED_BY.1));
    let mut registry = Registry::new(context, metrics);

    registry.watch(|cache| &cache.ingresses, scope::served(context), all(), Presence::Required);
    registry.control(|cache| &cache.ingresses, <Ingress as Shimmed>::NAME, Slots::few(96), shim::reconcile);

    registry.watch(|cache| &cache.issuers, scope::served(context), all(), Presence::Required);
    registry.control(|cache| &cache.issuers, issuer::NAME, Slots::many(128), issuer::reconcile);

    if context.settings.namespaces.is_empty() {
        let everywhere = vec![scope::cluster(context)];
        registry.watch(|cache| &cache.cluster_issuers, everywhere, all(), Presence::Required);
        registry.control(
            |cache| &cache.cluster_issuers,
            issuer::CLUSTER_NAME,
            Slots::many(128),
            issuer::reconcile_cluster,
        );
    }

    registry.watch(|cache| &cache.certificates, scope::served(context), all(), Presence::Required);
    registry.control_later(
        |cache| &cache.certificates,
        certificate::NAME,
        certificate::SLOTS,
        certificate::reconcile,
    );
    registry.controllers.push(Box::pin(certificate::enqueue_all(Arc::clone(context))));
    registry.controllers.push(Box::pin(certificate::enqueue_due(Arc::clone(context))));
    registry.controllers.push(Box::pin(certificate::enqueue_changed(Arc::clone(context))));
    registry.controllers.push(Box::pin(certificate::fetch_renewal_info(Arc::clone(context))));

    registry.watch(|cache| &cache.requests, scope::served(context), all(), Presence::Required);
    registry.control(
        |cache| &cache.requests,
        request_controller::NAME,
        Slots::few(96),
        request_controller::reconcile,
    );

    registry.watch(|cache| &cache.orders, scope::served(context), all(), Presence::Required);
    registry.control(|cache| &cache.orders, order::NAME, Slots::many(768), order::reconcile);

    registry.watch(|cache| &cache.challenges, scope::served(context), all(), Presence::Required);
    // Challenges wait for others most of the time, and hold little memory meanwhile.
    registry.control(|cache| &cache.challenges, challenge::NAME, Slots::few(4000), challenge::reconcile);

    registry.watch(|cache| &cache.services, scope::served(context), own(), Presence::Required);
    registry.control(
        |cache| &cache.services,
        solver_endpoints::NAME,
        Slots::few(24),
        solver_endpoints::reconcile,
    );

    registry.watch(|cache| &cache.routed_slices, scope::served(context), own(), Presence::Required);
    registry.watch_solver();
    registry.watch_secrets();
    registry.controllers.push(Box::pin(sweep(Arc::clone(context))));
    registry
}

/// The tasks of all kinds, before they run.
struct Registry {
    context: Arc<Context>,
    metrics: Metrics,
    /// Whether every kind has been listed: until then nothing is enqueued.
    listed: Arc<AtomicBool>,
    watches: Vec<Task>,
    /// What ends when a kind has been listed.
    lists: Vec<Task>,
    controllers: Vec<Task>,
}

impl Registry {
    fn new(context: &Arc<Context>, metrics: Metrics) -> Self {
        Self {
            context: Arc::clone(context),
            metrics,
            listed: Arc::default(),
            watches: Vec::new(),
            lists: Vec::new(),
            controllers: Vec::new(),
        }
    }

    /// Watches a kind.
    fn watch<K>(&mut self, select: Select<K>, scopes: Scopes<K>, config: Config, presence: Presence)
    where
        K: Watched + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let Some(watch) = self.begin(select, config, presence) else { return };
        let (context, listed) = (Arc::clone(&self.context), Arc::clone(&self.listed));
        let report = {
            let (context, listed) = (Arc::clone(&context), Arc::clone(&listed));
            move |object: &K, event| {
                object.index(&context, event);
                match event {
                    ObjectEvent::Listed | ObjectEvent::Replaced => return,
                    ObjectEvent::Created | ObjectEvent::Applied => {}
                    // What is remembered is about a later version.
                    ObjectEvent::RolledBack | ObjectEvent::Deleted => context.forget(object),
                }
                if listed.load(Ordering::Acquire) {
                    object.enqueue_dependents(&context.cache);
                }
            }
        };
        let keep = {
            let context = Arc::clone(&context);
            move |object: &mut K| {
                // Of what was issued before the start, little is needed: that is read.
                if let Some(chain) = object.take_chain().filter(|_| listed.load(Ordering::Acquire)) {
                    context.memory.chains.put(object.uid_or_empty().to_owned(), chain);
                }
                object.reduce(&context);
            }
        };
        let skip = move |object: &Guarded<K>| skipped(object, &context);
        self.watches.push(Box::pin(watch.run(scopes, keep, skip, report)));
    }

    /// Watches the solver's own EndpointSlices, which all routes follow.
    fn watch_solver(&mut self) {
        let settings = &self.context.settings;
        let config =
            Config::default().labels(&format!("{}={}", route::SERVICE_NAME, settings.solver_service));
        let scope = scope::namespace(&self.context, &settings.solver_namespace);
        let Some(watch) = self.begin(|cache| &cache.solver_slices, config, Presence::Required) else {
            return;
        };
        let report = solver_endpoints::wake_routes(Arc::clone(&self.context));
        self.watches.push(Box::pin(watch.run(vec![scope], |_| {}, |_| {}, report)));
    }

    /// Watches the metadata of Secrets that belong to Certificates or hold their next keys.
    fn watch_secrets(&mut self) {
        let config = Config::default().labels(&format!("{}=true", secret::FULL_ACCESS_LABEL));
        let scopes = scope::served::<PartialObjectMeta<Secret>>(&self.context);
        let Some(watch) = self.begin(|cache| &cache.secrets, config, Presence::Required) else { return };
        let (context, listed) = (Arc::clone(&self.context), Arc::clone(&self.listed));
        self.watches.push(Box::pin(watch.run_metadata(scopes, SecretMeta::of, move |secret, event| {
            if event == ObjectEvent::Created && secret.restored {
                context.memory.note_restoration(secret.namespace().to_owned(), context.now());
            }
            match event {
                ObjectEvent::Listed | ObjectEvent::Replaced => return,
                ObjectEvent::Created | ObjectEvent::Applied => {}
                ObjectEvent::RolledBack | ObjectEvent::Deleted => context.forget_secret(secret),
            }
            if listed.load(Ordering::Acquire) {
                enqueue_by_secret(&context.cache, secret);
            }
        })));
    }

    /// A kind's watch; `None` if it has been started already.
    fn begin<K>(&mut self, select: Select<K>, config: Config, presence: Presence) -> Option<Watch<K>>
    where
        K: Lookup<DynamicType = ()> + Clone + Send + Sync + 'static,
    {
        let context = Arc::clone(&self.context);
        let writer = select(&context.cache).take_writer()?;
        self.lists.push(Box::pin(async move { select(&context.cache).wait_until_listed().await }));
        Some(Watch { writer, config, presence })
    }

    /// Reconciles the objects of a kind in so many slots, beginning with all of them.
    fn control<K, F>(
        &mut self,
        select: Select<K>,
        name: &'static str,
        slots: Slots,
        reconcile: fn(Arc<K>, Arc<Context>) -> F,
    ) where
        K: Reports + Clone + Debug + 'static,
        F: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
    {
        let Some(controlling) = self.controlling(select, name, slots, reconcile) else { return };
        let context = Arc::clone(&self.context);
        self.controllers.push(Box::pin(async move {
            select(&context.cache).enqueue_unfinished();
            controlling.await;
        }));
    }

    /// The same, but something else enqueues the objects that there are when it starts.
    fn control_later<K, F>(
        &mut self,
        select: Select<K>,
        name: &'static str,
        slots: Slots,
        reconcile: fn(Arc<K>, Arc<Context>) -> F,
    ) where
        K: Reports + Clone + Debug + 'static,
        F: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
    {
        let controlling = self.controlling(select, name, slots, reconcile);
        self.controllers.extend(controlling.map(|controlling| -> Task { Box::pin(controlling) }));
    }

    fn controlling<K, F>(
        &mut self,
        select: Select<K>,
        name: &'static str,
        slots: Slots,
        reconcile: fn(Arc<K>, Arc<Context>) -> F,
    ) -> Option<impl Future<Output = ()> + Send + 'static>
    where
        K: Reports + Clone + Debug + 'static,
        F: Future<Output = Result<Requeue, ReconcileError>> + Send + 'static,
    {
        let (context, metrics) = (Arc::clone(&self.context), self.metrics.clone());
        let queue = select(&context.cache).take_queue()?;
        Some(async move {
            let store = select(&context.cache).store();
            let controller = Controller { name, store, slots, metrics, context: Arc::clone(&context) };
            run(controller, queue, reconcile).await;
        })
    }
}
