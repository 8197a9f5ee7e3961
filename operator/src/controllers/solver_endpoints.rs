//! The Services to http01-solver: each stays as long as its namespace has a Challenge, and follows the solver's Pods.
//!
//! Next: `decision/route_service.rs`, then `solvers/service.rs`, which creates what is kept and deleted here.

use std::sync::Arc;

use crds::acme::Challenge;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt};

use super::report::{Report, Reports};
use crate::{
    context::Context,
    decision::{
        Requeue,
        route_service::{self, Step},
    },
    error::ReconcileError,
    k8s,
    objects::{metadata::Identity, route},
    solvers::{FIELD_MANAGER, service::write_slices},
};

/// The name of the controller in metrics and logs.
pub(super) const NAME: &str = "solver-endpoints";

impl Reports for Service {
    const MANAGER: &'static str = FIELD_MANAGER;

    type Status = ();

    fn api(&self, context: &Context) -> Api<Self> {
        context.kube.api(self.namespace_or_empty())
    }

    fn status(&self) -> Option<&Self::Status> {
        None
    }

    fn reported(&self, _: Report<'_>, _: Timestamp) -> Option<Self::Status> {
        None
    }
}

pub(super) async fn reconcile(
    service: Arc<Service>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let namespace = service.namespace().unwrap_or_default();
    let idle_since = context.memory.idle_since.get(&namespace);
    let step =
        route_service::decide(&service, has_challenge(&namespace, &context), idle_since, context.now());
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

fn has_challenge(namespace: &str, context: &Context) -> bool {
    context.cache.challenges.any(|it: &Challenge| it.namespace().as_deref() == Some(namespace))
}
