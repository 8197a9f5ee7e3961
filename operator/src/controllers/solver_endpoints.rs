//! The way from a namespace to the solver: one Service and its EndpointSlices, as long as the namespace has a Challenge.

use std::{sync::Arc, time::Duration};

use crds::acme::Challenge;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::ResourceExt;

use crate::{
    context::Context,
    decision::Requeue,
    error::{ReconcileError, Tried},
    k8s,
    objects::route,
};

/// Its name in metrics and logs.
pub(super) const NAME: &str = "solver-endpoints";
const MANAGER: &str = "acme-operator-solver-endpoints";

/// How long a Service stays after the last Challenge: the next one is often near.
const LINGER: Duration = Duration::from_secs(2);

/// Takes a Service away that nobody needs, and follows the solver's Pods.
pub(super) async fn reconcile(
    service: Arc<Service>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let key = service.namespace().unwrap_or_default();
    if service.name_any() != route::SERVICE || service.metadata.deletion_timestamp.is_some() {
        return Ok(Requeue::Resync);
    }
    let now = context.now();
    if has_challenge(&key, &context) {
        context.memory.idle_since.forget(&key);
        let turn = context.memory.namespace_lock(&key);
        let _turn = turn.lock().await;
        write_slices(&service, &context).await?;
        return Ok(Requeue::Resync);
    }
    let since = context.memory.idle_since.get(&key).unwrap_or(now);
    let idle = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    if let Some(left) = LINGER.checked_sub(idle).filter(|left| !left.is_zero()) {
        context.memory.idle_since.put(key, since);
        return Ok(Requeue::After(left));
    }
    context.memory.idle_since.forget(&key);
    k8s::delete(&context.kube.api::<Service>(&key), route::SERVICE, service.uid()).await?;
    Ok(Requeue::Resync)
}

fn has_challenge(namespace: &str, context: &Context) -> bool {
    context.cache.challenges.any(|it: &Challenge| it.namespace().as_deref() == Some(namespace))
}

/// Sees that a namespace has the way. Where the Service is there, its own controller looks after its slices.
pub(super) async fn ensure(
    namespace: &str,
    node_port: bool,
    context: &Context,
) -> Result<(), ReconcileError> {
    if is_there(namespace, context) {
        return Ok(());
    }
    // One for all Challenges of a namespace: the first makes it, and the others wait that moment.
    let turn = context.memory.namespace_lock(namespace);
    let _turn = turn.lock().await;
    if is_there(namespace, context) {
        return Ok(());
    }
    let services = context.kube.api::<Service>(namespace);
    let service = match k8s::create(&services, MANAGER, &route::service(namespace, node_port)).await? {
        Some(service) => service,
        None => services
            .get(route::SERVICE)
            .await
            .tried(|| format!("read Service {namespace}/{}", route::SERVICE))?,
    };
    if service.labels().get(route::MANAGED_BY.0).map(String::as_str) != Some(route::MANAGED_BY.1) {
        return Err(ReconcileError::NotYet(format!(
            "the namespace {namespace:?} has a Service {:?} that is not ours: rename it",
            route::SERVICE
        )));
    }
    write_slices(&service, context).await
}

fn is_there(namespace: &str, context: &Context) -> bool {
    let service = context.cache.services.get(namespace, route::SERVICE);
    service.is_some_and(|service| service.metadata.deletion_timestamp.is_none())
}

/// Writes what differs from the solver's own EndpointSlices.
async fn write_slices(service: &Service, context: &Context) -> Result<(), ReconcileError> {
    let namespace = service.namespace().unwrap_or_default();
    let solver: Vec<_> = context.cache.solver_slices.all().iter().map(|slice| (**slice).clone()).collect();
    let slices = context.kube.api::<EndpointSlice>(&namespace);
    for wanted in route::endpoint_slices(service, &solver) {
        let name = wanted.name_any();
        let written = (namespace.clone(), name.clone());
        let there = context.cache.routed_slices.get(&namespace, &name);
        if wanted.endpoints.is_empty() && there.is_none() {
            continue;
        }
        let same = |there: &EndpointSlice| {
            there.endpoints == wanted.endpoints
                && there.ports == wanted.ports
                && there.metadata.owner_references == wanted.metadata.owner_references
        };
        // What was written a moment ago may not have been heard of yet.
        let lately =
            context.memory.slices.get(&written).is_some_and(|lately| lately == wanted) && there.is_none();
        if lately || there.as_ref().is_some_and(|there| same(there)) {
            continue;
        }
        tracing::debug!(namespace, slice = name, "writing the way to the solver");
        k8s::apply(&slices, MANAGER, &wanted, true).await?;
        context.memory.slices.put(written, wanted);
    }
    Ok(())
}
