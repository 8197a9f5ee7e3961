//! The Services to http01-solver: each stays as long as its namespace has a Challenge, or as the Challenge that owns it, and follows the
//! solver's Pods.
//!
//! Next: `decision/route_service.rs`, then `solvers/service.rs`, which creates what is kept and deleted here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crds::acme::Challenge;
use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointSlice},
};
use kube::ResourceExt;

use super::report::EventsOnly;
use crate::{
    context::Context,
    decision::{
        Requeue,
        route_service::{self, Step},
    },
    error::ReconcileError,
    k8s::{self, ObjectEvent},
    objects::{metadata::controller_of_kind, route},
    solvers::{FIELD_MANAGER, service::write_slices},
    sync::lock,
};

/// The name of the controller in metrics and logs.
pub(super) const NAME: &str = "solver-endpoints";

impl EventsOnly for Service {
    const MANAGER: &'static str = FIELD_MANAGER;
}

pub(super) async fn reconcile(
    service: Arc<Service>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let namespace = service.namespace().unwrap_or_default();
    let idle_since = context.memory.idle_since.get(&namespace);
    let has_challenge = context.cache.indexes.challenges_by_namespace.has_any(&namespace);
    let owner = owner(&service, &namespace, &context);
    let step = route_service::decide(&service, owner.as_deref(), has_challenge, idle_since, context.now());
    match step {
        Step::Nothing => Ok(Requeue::Resync),
        Step::Keep => {
            context.memory.idle_since.forget(&namespace);
            let lock = context.memory.namespace_lock(&namespace);
            let _guard = lock.lock().await;
            write_slices(&service, &context).await?;
            Ok(Requeue::Resync)
        }
        Step::Linger { since, left } => {
            context.memory.idle_since.put(namespace, since);
            Ok(Requeue::After(left))
        }
        Step::Delete => {
            context.memory.idle_since.forget(&namespace);
            k8s::delete(&context.kube.api::<Service>(&namespace), route::SERVICE, service.uid()).await?;
            Ok(Requeue::Resync)
        }
    }
}

/// The Challenge that owns a Service, if it exists.
fn owner(service: &Service, namespace: &str, context: &Context) -> Option<Arc<Challenge>> {
    let owner = controller_of_kind::<Challenge>(&service.metadata)?;
    let challenge = context.cache.challenges.get(namespace, &owner.name)?;
    (challenge.uid().as_ref() == Some(&owner.uid)).then_some(challenge)
}

/// Returns what a change of the solver's own EndpointSlices leads to: the Services to the solver are enqueued if their endpoints have to
/// follow.
pub(super) fn wake_routes(context: Arc<Context>) -> impl Fn(&EndpointSlice, ObjectEvent) + Send + 'static {
    let routed = RoutedEndpoints::default();
    move |slice, event| {
        if event == ObjectEvent::Listed || !routed.note(slice, event == ObjectEvent::Deleted) {
            return;
        }
        context.cache.services.enqueue_all();
    }
}

/// The endpoints of the solver's own Service, by the name of their EndpointSlice, as all namespaces have them.
#[derive(Default)]
struct RoutedEndpoints(Mutex<HashMap<String, Vec<Endpoint>>>);

impl RoutedEndpoints {
    /// Notes an EndpointSlice of the solver. Returns whether the namespaces have to follow: their endpoints have changed, and not
    /// just its metadata.
    fn note(&self, slice: &EndpointSlice, is_deleted: bool) -> bool {
        let (name, mut known) = (slice.name_any(), lock(&self.0));
        if is_deleted {
            return known.remove(&name).is_some();
        }
        let endpoints = route::routed_endpoints(slice);
        known.get(&name) != Some(&endpoints) && {
            known.insert(name, endpoints);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_follow_only_changed_endpoints() {
        let routed = RoutedEndpoints::default();
        let slice = |address: &str, version: &str| {
            let endpoint = Endpoint { addresses: vec![address.to_owned()], ..Endpoint::default() };
            let mut slice = EndpointSlice { endpoints: vec![endpoint], ..EndpointSlice::default() };
            slice.metadata.name = Some("http01-solver-abc12".to_owned());
            slice.metadata.resource_version = Some(version.to_owned());
            slice
        };
        assert!(routed.note(&slice("192.0.2.1", "1"), false), "a new one");
        assert!(!routed.note(&slice("192.0.2.1", "2"), false), "only its metadata has changed");
        assert!(routed.note(&slice("192.0.2.2", "3"), false), "another Pod");
        assert!(routed.note(&slice("192.0.2.2", "4"), true), "it was deleted");
        assert!(routed.note(&slice("192.0.2.2", "5"), false), "it is back");
    }
}
