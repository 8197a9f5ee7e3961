//! What is watched, and who is woken by what.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crds::{
    acme::{Challenge, Order},
    annotations::secret,
    certmanager::{Certificate, CertificateRequest, ClusterIssuer, Issuer},
    meta::{CLUSTER_ISSUER_KIND, DEFAULT_ISSUER_KIND},
};
use futures::future::join_all;
use k8s_openapi::api::{
    core::v1::{Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::PartialObjectMeta,
    runtime::{
        reflector::store::{Writer, store},
        watcher,
    },
};

use super::{certificate, challenge, ingress, issuer, order, request, run, solver_endpoints};
use crate::{
    context::{Context, Stores},
    decision,
    indexes::Indexes,
    k8s::{Guarded, Queue, Seen, Waker, queue, watch, watch_metadata},
    objects::{metadata::controlled_by, names, route, seen_secret::SeenSecret},
};

/// Something that goes on until the process ends.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Writers {
    certificates: Writer<Certificate>,
    requests: Writer<CertificateRequest>,
    orders: Writer<Order>,
    challenges: Writer<Challenge>,
    ingresses: Writer<Ingress>,
    issuers: Writer<Issuer>,
    cluster_issuers: Writer<ClusterIssuer>,
    secrets: Writer<SeenSecret>,
    services: Writer<Service>,
    routed_slices: Writer<EndpointSlice>,
    solver_slices: Writer<EndpointSlice>,
}

#[derive(Clone)]
struct Wakers {
    certificates: Waker<Certificate>,
    requests: Waker<CertificateRequest>,
    orders: Waker<Order>,
    challenges: Waker<Challenge>,
    ingresses: Waker<Ingress>,
    issuers: Waker<Issuer>,
    cluster_issuers: Waker<ClusterIssuer>,
    services: Waker<Service>,
}

struct Queues {
    certificates: Queue<Certificate>,
    requests: Queue<CertificateRequest>,
    orders: Queue<Order>,
    challenges: Queue<Challenge>,
    ingresses: Queue<Ingress>,
    issuers: Queue<Issuer>,
    cluster_issuers: Queue<ClusterIssuer>,
    services: Queue<Service>,
}

/// All watches, not begun yet.
pub struct Watches {
    /// What they will have seen.
    pub stores: Stores,
    writers: Writers,
    wakers: Wakers,
    queues: Queues,
}

impl Default for Watches {
    fn default() -> Self {
        let (certificates, write_certificates) = store();
        let (requests, write_requests) = store();
        let (orders, write_orders) = store();
        let (challenges, write_challenges) = store();
        let (ingresses, write_ingresses) = store();
        let (issuers, write_issuers) = store();
        let (cluster_issuers, write_cluster_issuers) = store();
        let (secrets, write_secrets) = store();
        let (services, write_services) = store();
        let (routed_slices, write_routed_slices) = store();
        let (solver_slices, write_solver_slices) = store();
        let (wake_certificates, woken_certificates) = queue();
        let (wake_requests, woken_requests) = queue();
        let (wake_orders, woken_orders) = queue();
        let (wake_challenges, woken_challenges) = queue();
        let (wake_ingresses, woken_ingresses) = queue();
        let (wake_issuers, woken_issuers) = queue();
        let (wake_cluster_issuers, woken_cluster_issuers) = queue();
        let (wake_services, woken_services) = queue();
        Self {
            stores: Stores {
                certificates,
                requests,
                orders,
                challenges,
                ingresses,
                issuers,
                cluster_issuers,
                secrets,
                services,
                routed_slices,
                solver_slices,
            },
            writers: Writers {
                certificates: write_certificates,
                requests: write_requests,
                orders: write_orders,
                challenges: write_challenges,
                ingresses: write_ingresses,
                issuers: write_issuers,
                cluster_issuers: write_cluster_issuers,
                secrets: write_secrets,
                services: write_services,
                routed_slices: write_routed_slices,
                solver_slices: write_solver_slices,
            },
            wakers: Wakers {
                certificates: wake_certificates,
                requests: wake_requests,
                orders: wake_orders,
                challenges: wake_challenges,
                ingresses: wake_ingresses,
                issuers: wake_issuers,
                cluster_issuers: wake_cluster_issuers,
                services: wake_services,
            },
            queues: Queues {
                certificates: woken_certificates,
                requests: woken_requests,
                orders: woken_orders,
                challenges: woken_challenges,
                ingresses: woken_ingresses,
                issuers: woken_issuers,
                cluster_issuers: woken_cluster_issuers,
                services: woken_services,
            },
        }
    }
}

impl Watches {
    /// What has an issuer looked at again.
    pub fn issuer_wakers(&self) -> (Waker<Issuer>, Waker<ClusterIssuer>) {
        (self.wakers.issuers.clone(), self.wakers.cluster_issuers.clone())
    }

    /// What has an Order looked at again.
    pub fn order_waker(&self) -> Waker<Order> {
        self.wakers.orders.clone()
    }
}

/// Runs all watches and, once everything is known, all controllers, until one of them ends, which none does by itself.
/// `ready` is called when everything is known.
pub async fn start(watches: Watches, context: Arc<Context>, ready: impl FnOnce()) {
    let Watches { stores, writers, wakers, queues } = watches;
    let rested = Box::pin(certificate::enqueue_due(Arc::clone(&context), wakers.certificates.clone()));
    let known = Arc::new(AtomicBool::new(false));
    let watching = join_any(watch_all(writers, &stores, wakers.clone(), &context, &known));
    let controlling = async {
        wait_until_known(&stores).await;
        // From now on, who is concerned by a change is woken; each object has its first turn at once.
        known.store(true, Ordering::Release);
        wake_all(&stores, &wakers);
        tracing::info!(
            certificates = stores.certificates.len(),
            ingresses = stores.ingresses.len(),
            "everything is known"
        );
        ready();
        let mut controllers = control_all(queues, &stores, &context);
        controllers.push(rested);
        join_any(controllers).await;
    };
    tokio::select! {
        () = watching => {}
        () = controlling => {}
    }
}

async fn join_any(tasks: Vec<Task>) {
    // Each on its own, so that they share the machine's cores.
    let mut set = tokio::task::JoinSet::new();
    for task in tasks {
        set.spawn(task);
    }
    _ = set.join_next().await;
}

async fn wait_until_known(stores: &Stores) {
    macro_rules! known {
        ($($store:ident),+) => {
            join_all([$({
                let store = stores.$store.clone();
                // A writer that is gone belongs to a process that ends.
                Box::pin(async move { _ = store.wait_until_ready().await; }) as Task
            }),+]).await
        };
    }
    known!(
        certificates,
        requests,
        orders,
        challenges,
        ingresses,
        issuers,
        cluster_issuers,
        secrets,
        services,
        routed_slices,
        solver_slices
    );
}

fn wake_all(stores: &Stores, wakers: &Wakers) {
    macro_rules! wake {
        ($($kind:ident),+) => {
            $(stores.$kind.state().iter().for_each(|object| wakers.$kind.wake(object));)+
        };
    }
    wake!(certificates, requests, orders, challenges, ingresses, issuers, cluster_issuers, services);
}

fn control_all(queues: Queues, stores: &Stores, context: &Arc<Context>) -> Vec<Task> {
    macro_rules! controller {
        ($name:expr, $kind:ident, $concurrency:expr, $reconcile:expr) => {
            Box::pin(run(
                $name,
                stores.$kind.clone(),
                queues.$kind,
                Arc::clone(context),
                $concurrency,
                $reconcile,
            )) as Task
        };
    }
    vec![
        controller!(ingress::NAME, ingresses, 32, ingress::reconcile),
        controller!(issuer::NAME, issuers, 8, issuer::reconcile),
        controller!(issuer::CLUSTER_NAME, cluster_issuers, 8, issuer::reconcile_cluster),
        controller!(
            certificate::NAME,
            certificates,
            certificate::MAX_CONCURRENT_RECONCILES,
            certificate::reconcile
        ),
        controller!(request::NAME, requests, 32, request::reconcile),
        controller!(order::NAME, orders, 48, order::reconcile),
        // These wait for others most of the time, and hold nothing but a little memory meanwhile.
        controller!(challenge::NAME, challenges, 2000, challenge::reconcile),
        controller!(solver_endpoints::NAME, services, 8, solver_endpoints::reconcile),
    ]
}

fn watch_all(
    writers: Writers,
    stores: &Stores,
    wakers: Wakers,
    context: &Arc<Context>,
    known: &Arc<AtomicBool>,
) -> Vec<Task> {
    let client = &context.client;
    let own = watcher::Config::default().labels(&format!("{}={}", route::MANAGED_BY.0, route::MANAGED_BY.1));
    let all = watcher::Config::default;
    let wakers = Arc::new(wakers);
    macro_rules! watching {
        ($kind:ident, $config:expr, $keep:expr, $index:expr, $wake:expr) => {{
            let (wakers, stores, context) = (Arc::clone(&wakers), stores.clone(), Arc::clone(context));
            let (known, wake) = (Arc::clone(known), $wake);
            Box::pin(watch(everywhere(client), $config, writers.$kind, $keep, move |object, seen| {
                $index(&context, object, seen);
                match seen {
                    Seen::Listed => return,
                    Seen::Present => {}
                    Seen::Gone => context.forget(object),
                }
                if known.load(Ordering::Acquire) {
                    wake(&wakers, &stores, object);
                }
            })) as Task
        }};
        ($kind:ident, $config:expr, $wake:expr) => {
            watching!($kind, $config, keep_all, no_index, $wake)
        };
    }
    vec![
        watching!(ingresses, all(), |wakers: &Wakers, _: &Stores, ingress: &Ingress| {
            wakers.ingresses.wake(ingress);
        }),
        watching!(certificates, all(), keep_of_certificate, index_certificate, wake_by_certificate),
        watching!(requests, all(), |wakers: &Wakers, _: &Stores, request: &CertificateRequest| {
            wakers.requests.wake(request);
            wake_owner(&wakers.certificates, request, "Certificate");
            // What is made for an object looks whether it is asked for, and may be heard of before it.
            let order = names::order(&request.name_any(), &request.spec.request.0);
            wakers.orders.wake_named(&order, request.namespace().as_deref());
        }),
        watching!(orders, all(), |wakers: &Wakers, _: &Stores, order: &Order| {
            wakers.orders.wake(order);
            wake_owner(&wakers.requests, order, "CertificateRequest");
            let authorizations =
                order.status.iter().flat_map(|status| status.authorizations.iter().flatten());
            for authorization in authorizations {
                let challenge = names::challenge(&order.name_any(), &authorization.url);
                wakers.challenges.wake_named(&challenge, order.namespace().as_deref());
            }
        }),
        watching!(
            challenges,
            all(),
            keep_all,
            index_challenge,
            |wakers: &Wakers, _: &Stores, challenge: &Challenge| {
                wakers.challenges.wake(challenge);
                wake_owner(&wakers.orders, challenge, "Order");
                wakers.services.wake_named(route::SERVICE, challenge.namespace().as_deref());
            }
        ),
        watching!(issuers, all(), |wakers: &Wakers, stores: &Stores, issuer: &Issuer| {
            wakers.issuers.wake(issuer);
            wake_by_issuer(
                wakers,
                stores,
                DEFAULT_ISSUER_KIND,
                &issuer.name_any(),
                issuer.namespace().as_deref(),
            );
        }),
        watching!(cluster_issuers, all(), |wakers: &Wakers, stores: &Stores, issuer: &ClusterIssuer| {
            wakers.cluster_issuers.wake(issuer);
            wake_by_issuer(wakers, stores, CLUSTER_ISSUER_KIND, &issuer.name_any(), None);
        }),
        watching!(services, own.clone(), |wakers: &Wakers, _: &Stores, service: &Service| {
            wakers.services.wake(service);
        }),
        watching!(routed_slices, own, |wakers: &Wakers, _: &Stores, slice: &EndpointSlice| {
            wakers.services.wake_named(route::SERVICE, slice.namespace().as_deref());
        }),
        watch_solver(&wakers, stores, writers.solver_slices, context),
        watch_secrets(&wakers, writers.secrets, context, known),
    ]
}

/// The solver's own EndpointSlices, which all routes follow.
fn watch_solver(
    wakers: &Arc<Wakers>,
    stores: &Stores,
    writer: Writer<EndpointSlice>,
    context: &Context,
) -> Task {
    let (wakers, services, settings) = (Arc::clone(wakers), stores.services.clone(), &context.settings);
    let api: Api<Guarded<EndpointSlice>> =
        Api::namespaced(context.client.clone(), &settings.solver_namespace);
    let config =
        watcher::Config::default().labels(&format!("{}={}", route::SERVICE_NAME, settings.solver_service));
    Box::pin(watch(api, config, writer, keep_all, move |_, seen| {
        if seen != Seen::Listed {
            services.state().iter().for_each(|service| wakers.services.wake(service));
        }
    }))
}

/// Metadata of Secrets that are Certificates', or hold their next keys.
fn watch_secrets(
    wakers: &Arc<Wakers>,
    writer: Writer<SeenSecret>,
    context: &Arc<Context>,
    known: &Arc<AtomicBool>,
) -> Task {
    let (wakers, context, known) = (Arc::clone(wakers), Arc::clone(context), Arc::clone(known));
    let config = watcher::Config::default().labels(&format!("{}=true", secret::FULL_ACCESS_LABEL));
    let api: Api<PartialObjectMeta<Secret>> = Api::all(context.client.clone());
    Box::pin(watch_metadata(api, config, writer, SeenSecret::of, move |secret, seen| {
        match seen {
            Seen::Listed => return,
            Seen::Present => {}
            Seen::Gone => context.forget_secret(secret),
        }
        if known.load(Ordering::Acquire) {
            wake_by_secret(&wakers, &context.indexes, secret);
        }
    }))
}

fn no_index<K>(_: &Context, _: &K, _: Seen) {}

fn index_certificate(context: &Context, certificate: &Certificate, seen: Seen) {
    match seen {
        Seen::Listed | Seen::Present => context.indexes.put_certificate(certificate),
        Seen::Gone => {
            context.indexes.remove_certificate(certificate);
            let namespace = certificate.namespace().unwrap_or_default();
            context.resting.forget(&namespace, &certificate.name_any());
        }
    }
}

fn index_challenge(context: &Context, challenge: &Challenge, seen: Seen) {
    match seen {
        Seen::Listed | Seen::Present => context.indexes.put_challenge(challenge),
        Seen::Gone => context.indexes.remove_challenge(challenge),
    }
}

fn keep_all<K>(_: &mut K) {}

/// A Certificate without the room that lists have for more: there are thousands of them.
fn keep_of_certificate(certificate: &mut Certificate) {
    if let Some(status) = &mut certificate.status {
        status.conditions.shrink_to_fit();
    }
    if let Some(names) = &mut certificate.spec.dns_names {
        names.shrink_to_fit();
    }
    if let Some(usages) = &mut certificate.spec.usages {
        usages.shrink_to_fit();
    }
}

fn everywhere<K>(client: &Client) -> Api<Guarded<K>>
where
    K: Resource<DynamicType = ()>,
{
    Api::all(client.clone())
}

/// Wakes the controller of an object, where that is of a kind.
fn wake_owner<K, O>(waker: &Waker<O>, object: &K, kind: &str)
where
    K: Resource<DynamicType = ()>,
    O: Resource<DynamicType = ()>,
{
    if let Some(owner) = controlled_by(object.meta(), kind) {
        waker.wake_named(&owner.name, object.namespace().as_deref());
    }
}

fn wake_by_certificate(wakers: &Wakers, _: &Stores, certificate: &Certificate) {
    wakers.certificates.wake(certificate);
    wake_owner(&wakers.ingresses, certificate, "Ingress");
}

/// A Secret wakes the Certificates that name it, and the one whose next key it holds.
fn wake_by_secret(wakers: &Wakers, indexes: &Indexes, secret: &SeenSecret) {
    let namespace = secret.namespace();
    for name in indexes.certificates_by_secret.names(namespace, secret.name()) {
        wakers.certificates.wake_named(&name, Some(namespace));
    }
    if let Some(owner) = &secret.owner {
        wakers.certificates.wake_named(&owner.name, Some(namespace));
    }
}

/// What waits for an issuer that has changed.
fn wake_by_issuer(wakers: &Wakers, stores: &Stores, kind: &str, name: &str, namespace: Option<&str>) {
    let is_it = |reference: &crds::meta::IssuerRef, of: Option<String>| {
        let identity = reference.identity();
        identity.kind == kind
            && identity.name == name
            && identity.group == crds::GROUP
            && (namespace.is_none() || of.as_deref() == namespace)
    };
    for waiting in stores.requests.state_filter(|it| is_it(&it.spec.issuer_ref, it.namespace())) {
        if !waiting.status.as_ref().is_some_and(decision::request::is_final) {
            wakers.requests.wake(&waiting);
        }
    }
    for waiting in stores.orders.state_filter(|it| is_it(&it.spec.issuer_ref, it.namespace())) {
        if !decision::order::is_final(waiting.status.as_ref().and_then(|status| status.state)) {
            wakers.orders.wake(&waiting);
        }
    }
    for waiting in stores.challenges.state_filter(|it| is_it(&it.spec.issuer_ref, it.namespace())) {
        wakers.challenges.wake(&waiting);
    }
}
