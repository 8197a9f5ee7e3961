//! CertificateRequests: approves them, orders for them, and hands back what came of it.

use std::sync::Arc;

use crds::{acme::Order, certmanager::CertificateRequest};
use kube::ResourceExt;

use crate::{
    cache::IssuerLookup,
    context::Context,
    decision::{
        Requeue,
        request::{self, Action, IssuerView, View},
    },
    error::ReconcileError,
    k8s,
    memory::EXPECTATION_TTL,
    objects::{metadata::controlled_by, names},
};

/// Its name, as cert-manager's metrics and events have it.
pub(super) const NAME: &str = "certificaterequests-issuer-acme";
const MANAGER: &str = "cert-manager-certificaterequests-issuer-acme";

pub(super) async fn reconcile(
    object: Arc<CertificateRequest>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let namespace = object.namespace().unwrap_or_default();
    let issuer = context.cache.issuer(&object.spec.issuer_ref, &namespace);
    let name = names::order(&object.name_any(), &object.spec.request.0);
    let order = context.cache.orders.get(&namespace, &name);
    // One that somebody else made under this name does not count, and is in the way: that is an error until it is gone.
    let order = order.filter(|order| {
        controlled_by(&order.metadata, "CertificateRequest").map(|owner| owner.uid.as_str())
            == object.uid().as_deref()
    });
    let actions = request::decide(&View {
        request: &object,
        issuer: match &issuer {
            IssuerLookup::Foreign => IssuerView::Other,
            IssuerLookup::Missing => IssuerView::Missing,
            IssuerLookup::Found(issuer) => match &issuer.config.acme() {
                Some(acme) => IssuerView::Acme { acme, ready: issuer.is_ready() },
                None => IssuerView::Other,
            },
        },
        order: order.as_deref(),
        approves: context.settings.auto_approve,
        now: context.now(),
    });
    apply(actions, &object, &context).await
}

async fn apply(
    actions: Vec<Action>,
    request: &CertificateRequest,
    context: &Context,
) -> Result<Requeue, ReconcileError> {
    let namespace = request.namespace().unwrap_or_default();
    let orders = context.kube.api::<Order>(&namespace);
    for action in actions {
        match action {
            Action::WriteStatus(status) => {
                let api = context.kube.api::<CertificateRequest>(&namespace);
                context.kube.write_status(&api, MANAGER, request, request.status.as_ref(), &*status).await?;
            }
            Action::CreateOrder(order) => {
                let made = format!("{}/{}", request.uid().unwrap_or_default(), order.name_any());
                if context.memory.expectations.is_pending(&made, context.now()) {
                    return Ok(Requeue::After(EXPECTATION_TTL));
                }
                k8s::create(&orders, MANAGER, &*order).await?;
                context.memory.expectations.expect(made, context.now());
            }
            Action::DeleteOrder(name) => {
                context.memory.expectations.forget(&format!("{}/{name}", request.uid().unwrap_or_default()));
                k8s::delete(&orders, &name, None).await?;
            }
            Action::Publish(note) => context.kube.publish(MANAGER, &note, request),
        }
    }
    Ok(Requeue::Resync)
}
