//! Which kinds are watched, and which controller reconciles each.
//!
//! To add a kind: a field in [`Cache`], an `impl Watched` in `watched.rs`, and its lines in [`register`]. Must not know what a
//! controller does. Next: `watched.rs` for which objects a change enqueues, `runner.rs` for how an object is reconciled.

use std::{
    fmt::Debug,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crds::{
    annotations::{challenge::SOLVER_LABEL, secret},
    gateway::{Gateway, ListenerSet},
};
use futures::future::join_all;
use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use kube::{
    Resource,
    api::PartialObjectMeta,
    runtime::{reflector::Lookup, watcher::Config},
};
use serde::de::DeserializeOwned;

use super::{
    Controller, certificate, challenge,
    enqueue::{enqueue_by_secret, enqueue_owner},
    issuer, order,
    report::Reports,
    request as request_controller, run, scope,
    shim::{self, Shimmed},
    solver_endpoints,
    tasks::{Task, join_any},
    watched::{Watched, skipped},
};
use crate::{
    cache::{Cache, Definitions, Kind},
    context::Context,
    decision::{Requeue, fair_queue::Slots},
    error::ReconcileError,
    k8s::{Definition, Guarded, ObjectEvent, Presence, Scope, Watch},
    memory::sweep,
    metrics::Metrics,
    objects::{metadata::Identity, route, secret_meta::SecretMeta},
};

/// Where a kind is watched.
type Scopes<K> = Vec<Scope<Guarded<K>>>;

/// How to find a kind in the cache.
type Select<K> = fn(&Cache) -> &Kind<K>;

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
        // Always in this order, so that a history can be repeated.
        biased;
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
        // Roles from before this kind was read don't grant it.
        let present = Definition::default();
        present.note(true);
        let everywhere = vec![scope::cluster(context)];
        registry.watch(|cache| &cache.ingress_classes, everywhere, all(), Presence::Optional(present));
    }

    registry.watch(|cache| &cache.certificates, scope::served(context), all(), Presence::Required);
    registry.control(
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
    registry.watch_gateway_api();
    registry.controllers.push(Box::pin(sweep(Arc::clone(context))));
    registry
}

/// Learns which kinds of the Gateway API exist.
async fn watch_definitions(context: Arc<Context>) {
    let Definitions { gateways, http_routes, listener_sets } = &context.cache.definitions;
    let client = &context.kube.client;
    if !context.settings.gateway_api {
        for definition in [gateways, http_routes, listener_sets] {
            definition.note(false);
        }
        return std::future::pending().await;
    }
    futures::join!(
        gateways.watch(client.clone(), "gateways.gateway.networking.k8s.io"),
        http_routes.watch(client.clone(), "httproutes.gateway.networking.k8s.io"),
        listener_sets.watch(client.clone(), "listenersets.gateway.networking.k8s.io"),
    );
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

    /// Watches the kinds of the Gateway API while their CRDs are installed.
    fn watch_gateway_api(&mut self) {
        let context = Arc::clone(&self.context);
        let definitions = &context.cache.definitions;
        let routes = Config::default().labels(&format!("{SOLVER_LABEL}=true"));
        let present = |definition: &Definition| Presence::Optional(definition.clone());
        self.watch(
            |cache| &cache.gateways,
            scope::served(&context),
            Config::default(),
            present(&definitions.gateways),
        );
        self.watch(
            |cache| &cache.listener_sets,
            scope::served(&context),
            Config::default(),
            present(&definitions.listener_sets),
        );
        self.watch(
            |cache| &cache.http_routes,
            scope::served(&context),
            routes,
            present(&definitions.http_routes),
        );
        self.control(|cache| &cache.gateways, Gateway::NAME, Slots::few(96), shim::reconcile);
        self.control(|cache| &cache.listener_sets, ListenerSet::NAME, Slots::few(96), shim::reconcile);
        self.watches.push(Box::pin(watch_definitions(context)));
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

    /// Reconciles the objects of a kind in so many slots, beginning with those for which there may be something to do.
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
        let (context, metrics) = (Arc::clone(&self.context), self.metrics.clone());
        let Some(queue) = select(&context.cache).take_queue() else { return };
        self.controllers.push(Box::pin(async move {
            let kind = select(&context.cache);
            kind.enqueue_unfinished();
            let controller =
                Controller { name, store: kind.store(), slots, metrics, context: Arc::clone(&context) };
            run(controller, queue, reconcile).await;
        }));
    }
}
