//! CertificateRequests: approves them, creates their Orders, and copies the result into their status.

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
    objects::{
        metadata::{Identity, controller_of_kind},
        names,
    },
};

/// The controller's name in cert-manager's metrics, and in logs.
pub(super) const NAME: &str = "certificaterequests-issuer-acme";
/// The field manager of its writes and the reporter of its Events, as in cert-manager.
const MANAGER: &str = "cert-manager-certificaterequests-issuer-acme";

pub(super) async fn reconcile(
    object: Arc<CertificateRequest>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let namespace = object.namespace_or_empty();
    let issuer = context.issuer(&object.spec.issuer_ref, namespace);
    let name = names::order(&object.name_any(), &object.spec.request.0);
    let order = context.stores.orders.get(&ObjectRef::new(&name).within(namespace));
    // An Order of this name that was created for another object is not used, and the request waits until it is deleted.
    let order = order.filter(|order| {
        controller_of_kind::<CertificateRequest>(&order.metadata)
            .is_some_and(|owner| owner.uid == object.uid_or_empty())
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
        auto_approve: context.settings.approves,
        now: context.now(),
    });
    apply(actions, &object, &context).await
}

async fn apply(
    actions: Vec<Action>,
    request: &CertificateRequest,
    context: &Context,
) -> Result<Requeue, ReconcileError> {
    let namespace = request.namespace_or_empty();
    let orders = context.api::<Order>(namespace);
    for action in actions {
        match action {
            Action::WriteStatus(status) => {
                let api = context.api::<CertificateRequest>(namespace);
                context.write_status(&api, MANAGER, request, request.status.as_ref(), &*status).await?;
            }
            Action::CreateOrder(order) => {
                let made = format!("{}/{}", request.uid_or_empty(), order.name_any());
                if context.lately.is(&made, context.now()) {
                    return Ok(Requeue::After(Lately::MOMENT));
                }
                k8s::create(&orders, MANAGER, &*order).await?;
                context.lately.put(made, context.now());
            }
            Action::DeleteOrder(name) => {
                context.lately.forget(&format!("{}/{name}", request.uid_or_empty()));
                k8s::delete(&orders, &name, None).await?;
            }
            Action::Publish(note) => context.publish(MANAGER, &note, request),
        }
    }
    Ok(Requeue::Resync)
}
