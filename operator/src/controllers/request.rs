//! CertificateRequests: approves them, orders for them, and hands back what came of it.

use std::sync::Arc;

use crds::{acme::Order, certmanager::CertificateRequest};
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    context::{Context, IssuerLookup, Lately},
    decision::{
        Requeue,
        request::{self, Action, IssuerView, View},
    },
    error::ReconcileError,
    k8s,
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
    let issuer = context.issuer(&object.spec.issuer_ref, &namespace);
    let name = names::order(&object.name_any(), &object.spec.request.0);
    let order = context.stores.orders.get(&ObjectRef::new(&name).within(&namespace));
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
            IssuerLookup::Found(issuer) => match &issuer.acme {
                Some(acme) => IssuerView::Acme { acme, ready: issuer.is_ready() },
                None => IssuerView::Other,
            },
        },
        order: order.as_deref(),
        approves: context.settings.approves,
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
    let orders = context.api::<Order>(&namespace);
    for action in actions {
        match action {
            Action::WriteStatus(status) => {
                let api = context.api::<CertificateRequest>(&namespace);
                context.write_status(&api, MANAGER, request, request.status.as_ref(), &*status).await?;
            }
            Action::CreateOrder(order) => {
                let made = format!("{}/{}", request.uid().unwrap_or_default(), order.name_any());
                if context.lately.is(&made, context.now()) {
                    return Ok(Requeue::After(Lately::MOMENT));
                }
                k8s::create(&orders, MANAGER, &*order).await?;
                context.lately.put(made, context.now());
            }
            Action::DeleteOrder(name) => {
                context.lately.forget(&format!("{}/{name}", request.uid().unwrap_or_default()));
                k8s::delete(&orders, &name, None).await?;
            }
            Action::Publish(note) => context.publish(MANAGER, &note, request),
        }
    }
    Ok(Requeue::Resync)
}
