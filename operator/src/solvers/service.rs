//! The Service and EndpointSlices that lead from a namespace with Challenges to the Pods of http01-solver.
//!
//! Writes them; must not decide how long they stay, which `controllers/solver_endpoints.rs` does.

use std::sync::Arc;

use crds::acme::Challenge;
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::ResourceExt;

use crate::{
    context::Context,
    decision::challenge::{must_empty_slice, must_write_slice},
    error::{ReconcileError, Tried},
    k8s,
    objects::{metadata::controller_of, route},
};

/// Field manager of what all Challenges of a namespace share.
const FIELD_MANAGER: &str = "acme-operator-solver-endpoints";

/// Creates the Service and its EndpointSlices unless the namespace has them. Once the Service exists, its own controller keeps
/// the EndpointSlices up to date.
///
/// # Errors
/// [`ReconcileError::Invalid`] if the Service belongs to someone else; otherwise the API server rejected a request.
pub async fn ensure(namespace: &str, node_port: bool, context: &Context) -> Result<(), ReconcileError> {
    if let Some(service) = existing(namespace, context) {
        // Their controller keeps them up to date. That they can't be written is reported by those who need them.
        return if has_slices(namespace, context) { Ok(()) } else { write_slices(&service, context).await };
    }
    // All Challenges of a namespace share it: the first one creates it while the others wait.
    let lock = context.memory.namespace_lock(namespace);
    let _guard = lock.lock().await;
    if existing(namespace, context).is_some() {
        return Ok(());
    }
    let extra = &context.settings.solver_labels;
    let services = context.kube.api::<Service>(namespace);
    let created = k8s::create(&services, FIELD_MANAGER, &route::service(namespace, node_port, extra)).await?;
    let service = match created {
        Some(service) => service,
        None => services
            .get(route::SERVICE)
            .await
            .tried(|| format!("read Service {namespace}/{}", route::SERVICE))?,
    };
    let (label, value) = route::MANAGED_BY;
    if service.labels().get(label).is_none_or(|manager| manager != value) {
        return Err(ReconcileError::Invalid {
            what: format!("the Service \"{namespace}/{}\"", route::SERVICE),
            why: format!(
                "it lacks the label {label}={value}, so it may belong to someone else. Rename or delete it"
            ),
        });
    }
    write_slices(&service, context).await
}

/// How many Challenges of a namespace get a Service of their own at a time: each Service has an address of the cluster.
const MOST_FOR_KNATIVE: usize = 60;

/// The API group of Knative's own Certificates.
const KNATIVE_GROUP: &str = "networking.internal.knative.dev/";

/// Creates a Service for a Challenge alone if its Certificate belongs to Knative, which looks it up by labels and takes the Challenge's
/// name from its owner. Its own controller writes the EndpointSlices.
///
/// # Errors
/// The API server rejects a request.
pub async fn ensure_for_knative(challenge: &Challenge, context: &Context) -> Result<(), ReconcileError> {
    let namespace = challenge.namespace().unwrap_or_default();
    if !belongs_to_knative(challenge, context) {
        return Ok(());
    }
    let service = route::challenge_service(challenge, &context.settings.solver_labels);
    let exists = context.cache.services.get(&namespace, &service.name_any()).is_some();
    if exists || context.cache.services.len_in(&namespace) > MOST_FOR_KNATIVE {
        return Ok(());
    }
    k8s::create(&context.kube.api::<Service>(&namespace), FIELD_MANAGER, &service).await.map(drop)
}

fn belongs_to_knative(challenge: &Challenge, context: &Context) -> bool {
    let cache = &context.cache;
    let order = cache.order_of_challenge(challenge);
    order.and_then(|order| cache.certificate_of(&order)).is_some_and(|certificate| {
        let owner = controller_of(&certificate.metadata);
        owner.is_some_and(|it| it.kind == "Certificate" && it.api_version.starts_with(KNATIVE_GROUP))
    })
}

fn existing(namespace: &str, context: &Context) -> Option<Arc<Service>> {
    let service = context.cache.services.get(namespace, route::SERVICE);
    service.filter(|service| service.metadata.deletion_timestamp.is_none())
}

/// Whether something routes to http01-solver, or will once the watch shows it.
fn has_slices(namespace: &str, context: &Context) -> bool {
    let is_written = |name: String| context.memory.slices.get(&(namespace.to_owned(), name)).is_some();
    context.cache.indexes.routed_slices_by_namespace.has_any(namespace)
        || context.cache.solver_slices.any(|slice| is_written(route::endpoint_slice_name(slice)))
}

/// Writes the EndpointSlices that differ from those of http01-solver's own Service, and empties those that it no longer has: their
/// addresses may belong to other Pods by now. Only Pods that exist get requests, and no permission to delete is needed.
///
/// # Errors
/// The API server rejects a request.
pub async fn write_slices(service: &Service, context: &Context) -> Result<(), ReconcileError> {
    let namespace = service.namespace().unwrap_or_default();
    let solver: Vec<_> = context.cache.solver_slices.all().iter().map(|slice| (**slice).clone()).collect();
    let slices = context.kube.api::<EndpointSlice>(&namespace);
    let extra = &context.settings.solver_labels;
    let all = route::endpoint_slices(service, &solver, extra);
    for desired in &all {
        let name = desired.name_any();
        let key = (namespace.clone(), name.clone());
        let existing = context.cache.routed_slices.get(&namespace, &name);
        // The watch may not show yet what was just written.
        let written = context.memory.slices.get(&key);
        if !must_write_slice(desired, existing.as_deref(), written.as_ref()) {
            continue;
        }
        tracing::debug!(namespace, slice = name, "writing an EndpointSlice of http01-solver");
        k8s::apply(&slices, FIELD_MANAGER, desired, true).await?;
        context.memory.slices.put(key, desired.clone());
    }
    for name in context.cache.indexes.routed_slices_by_namespace.names(&namespace) {
        let Some(existing) = context.cache.routed_slices.get(&namespace, &name) else { continue };
        if must_empty_slice(&existing, service, &all) {
            let emptied = route::emptied_endpoint_slice(service, &existing, extra);
            tracing::debug!(
                namespace,
                slice = name,
                "emptying an EndpointSlice that http01-solver no longer has"
            );
            k8s::apply(&slices, FIELD_MANAGER, &emptied, true).await?;
        }
    }
    Ok(())
}
