//! The way from a namespace to the solver: one Service and its EndpointSlices, as long as the namespace has a Challenge.

use std::{sync::Arc, time::Duration};

use crds::acme::Challenge;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use crate::{
    context::Context, decision::Requeue, error::ReconcileError, k8s, objects::route,
    solvers::service::write_slices,
};

/// Its name in metrics and logs.
pub(super) const NAME: &str = "solver-endpoints";

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
        context.idle_since.forget(&key);
        let turn = context.namespace_turn(&key);
        let _turn = turn.lock().await;
        write_slices(&service, &context).await?;
        return Ok(Requeue::Resync);
    }
    let since = context.idle_since.get(&key).unwrap_or(now);
    let idle = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    if let Some(left) = LINGER.checked_sub(idle).filter(|left| !left.is_zero()) {
        context.idle_since.put(key, since);
        return Ok(Requeue::After(left));
    }
    context.idle_since.forget(&key);
    k8s::delete(&context.api::<Service>(&key), route::SERVICE, service.uid()).await?;
    Ok(Requeue::Resync)
}

fn has_challenge(namespace: &str, context: &Context) -> bool {
    context.stores.challenges.find(|it: &Challenge| it.namespace().as_deref() == Some(namespace)).is_some()
}
