//! CertificateRequests: approves them, creates their Orders, and copies the result into their status.

use std::{sync::Arc, time::Duration};

use crds::{
    acme::Order,
    certmanager::{Certificate, CertificateRequest, CertificateRequestStatus},
    condition::{self, HasConditions},
    meta::CLUSTER_ISSUER_KIND,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, api::Patch};

use super::{
    approval,
    chains::with_chain,
    report::{Report, Reports},
};
use crate::{
    cache::IssuerLookup,
    context::Context,
    decision::{
        Requeue,
        certificate::{Cause, Pace},
        request::{self, Action, Applicant, CHECKED_EVERY_MINUTES, IssuerView, View},
        retry::{EXPECTATION_TTL, LONGEST_UNWATCHED},
    },
    error::{ReconcileError, Tried},
    k8s,
    objects::{
        self,
        metadata::{Identity, controller_of_kind},
    },
    pki::Csr,
};

/// The controller's name in cert-manager's metrics, and in logs.
pub(super) const NAME: &str = "certificaterequests-issuer-acme";
/// The field manager of its writes and the reporter of its Events, as in cert-manager.
const MANAGER: &str = "cert-manager-certificaterequests-issuer-acme";

pub(super) async fn reconcile(
    object: Arc<CertificateRequest>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    if object.status.as_ref().is_some_and(request::is_final) {
        return Ok(Requeue::OnChange);
    }
    let namespace = object.namespace_or_empty();
    let issuer = context.cache.issuer(&object.spec.issuer_ref, namespace);
    let csr = Csr::from_pem(&object.spec.request.0);
    let readable = csr.as_ref().ok();
    let order =
        context.cache.order_of(&object).or_else(|| of_the_same_name(&object, readable?, &issuer, &context));
    let order = match order {
        Some(order) => Some(with_chain(order, &context).await?),
        None => None,
    };
    let owner = controller_of_kind::<Certificate>(&object.metadata);
    let is_orphan = owner.is_some_and(|owner| context.cache.has_owner(namespace, owner) == Some(false));
    let problem = context.memory.problems.get(object.uid_or_empty());
    let refusal = refusal(&object, readable, &issuer, order.is_some(), &context).await?;
    let pace = context.memory.paces.get(object.uid_or_empty()).filter(|_| order.is_none());
    let auto_approve = approves(&object, &issuer, &context).await?;
    let actions = request::decide(&View {
        request: &object,
        csr: csr.as_ref(),
        is_orphan,
        issuer: match &issuer {
            _ if let Some(why) = &refusal => IssuerView::Refused(why),
            IssuerLookup::Foreign => IssuerView::Other,
            IssuerLookup::UnknownKind => IssuerView::UnknownKind,
            IssuerLookup::Missing => IssuerView::Missing,
            IssuerLookup::Found(issuer) => match &issuer.config.acme() {
                Some(acme) => IssuerView::Acme {
                    acme,
                    account: issuer.account(),
                    ready: issuer.is_ready(),
                    message: issuer.message(),
                },
                None => IssuerView::Unsupported,
            },
        },
        order: order.as_deref(),
        pace,
        problem: problem.as_ref().map(|problem| problem.message.as_str()),
        auto_approve,
        now: context.now(),
    });
    let mut requeue = apply(actions, &object, &context).await?;
    if context.settings.auto_approve && !auto_approve && !is_decided(&object) {
        // No watch shows that the role has changed.
        requeue = requeue.earliest(Requeue::After(2 * LONGEST_UNWATCHED));
    }
    if refusal.is_some() {
        // No watch shows that the Namespace has changed.
        requeue = requeue.earliest(Requeue::After(Duration::from_mins(CHECKED_EVERY_MINUTES)));
    }
    if let Some(next) = pace.map(|pace| pace.next(Cause::Other)).filter(|next| *next > context.now()) {
        requeue = requeue.earliest(Requeue::at(next, context.now()));
    }
    // The watch may show its Certificate later.
    Ok(if is_orphan { requeue.earliest(Requeue::After(LONGEST_UNWATCHED)) } else { requeue })
}

/// Whether the operator approves a request. For an issuer of another group, its role has to allow that.
async fn approves(
    request: &CertificateRequest,
    issuer: &IssuerLookup,
    context: &Context,
) -> Result<bool, ReconcileError> {
    if !context.settings.auto_approve || is_decided(request) || !matches!(issuer, IssuerLookup::Foreign) {
        return Ok(context.settings.auto_approve);
    }
    approval::is_allowed(&request.spec.issuer_ref, request.namespace_or_empty(), context).await
}

/// Whether an approver has decided.
fn is_decided(request: &CertificateRequest) -> bool {
    [condition::APPROVED, condition::DENIED].iter().any(|it| condition::is_true(request.conditions(), it))
}

/// The Order with the name of the one that a request would create, and with another owner or none.
fn of_the_same_name(
    request: &CertificateRequest,
    csr: &Csr,
    issuer: &IssuerLookup,
    context: &Context,
) -> Option<Arc<Order>> {
    let IssuerLookup::Found(issuer) = issuer else { return None };
    let order = objects::order::build(request, issuer.config.acme()?, None, csr, None);
    context.cache.orders.get(request.namespace_or_empty(), &order.name_any())
}

/// Why the issuer does not serve a request. Reads the Namespace only if the issuer restricts who may use it, and only before the
/// Order is created.
async fn refusal(
    object: &CertificateRequest,
    csr: Option<&Csr>,
    issuer: &IssuerLookup,
    has_order: bool,
    context: &Context,
) -> Result<Option<String>, ReconcileError> {
    let name = &object.spec.issuer_ref.name;
    let issuer = match issuer {
        IssuerLookup::Missing
            if !context.settings.namespaces.is_empty()
                && object.spec.issuer_ref.identity().kind == CLUSTER_ISSUER_KIND =>
        {
            return Ok(Some(format!(
                "the ClusterIssuer {name:?} can't be used, because the operator is limited to namespaces (--namespace): use \
                 an Issuer in this namespace"
            )));
        }
        IssuerLookup::Found(issuer) => issuer,
        IssuerLookup::Missing | IssuerLookup::Foreign | IssuerLookup::UnknownKind => return Ok(None),
    };
    let Some(restrictions) = issuer.restrictions.as_ref().filter(|_| !has_order) else { return Ok(None) };
    if object.status.as_ref().is_some_and(request::is_final) {
        return Ok(None);
    }
    // One without a CSR that can be read fails anyway.
    let Some(csr) = csr else { return Ok(None) };
    let namespace = object.namespace_or_empty();
    let read = Api::<Namespace>::all(context.kube.client.clone()).get_metadata(namespace).await;
    let found = read.tried(|| format!("read Namespace {namespace}"))?;
    let applicant = Applicant { namespace, labels: found.labels(), annotations: found.annotations(), csr };
    Ok(restrictions.refusal(name, applicant))
}

impl Reports for CertificateRequest {
    const MANAGER: &'static str = MANAGER;

    type Status = CertificateRequestStatus;

    fn api(&self, context: &Context) -> Api<Self> {
        context.kube.api(self.namespace_or_empty())
    }

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn reported(&self, report: Report<'_>, now: Timestamp) -> Option<Self::Status> {
        match report {
            Report::Problem(problem) => Some(request::report(self, &problem.message, now)),
            // The next decision writes the status without it.
            Report::Solved(_) => None,
        }
    }
}

async fn apply(
    actions: Vec<Action>,
    request: &CertificateRequest,
    context: &Context,
) -> Result<Requeue, ReconcileError> {
    let namespace = request.namespace_or_empty();
    let orders = context.kube.api::<Order>(namespace);
    let mut requeue = Requeue::Resync;
    for action in actions {
        match action {
            Action::WriteStatus(status) => {
                let api = context.kube.api::<CertificateRequest>(namespace);
                context.kube.write_status(&api, MANAGER, request, request.status.as_ref(), &*status).await?;
            }
            Action::CreateOrder(order) => {
                let made = format!("{}/{}", request.uid_or_empty(), order.name_any());
                if context.memory.expectations.is_pending(&made, context.now()) {
                    return Ok(Requeue::After(EXPECTATION_TTL));
                }
                // Before, because the watch may show the Order earlier than the response does.
                let key = (namespace.to_owned(), order.name_any());
                context.memory.created_orders.put(key.clone(), ());
                let created = k8s::create(&orders, MANAGER, &*order).await;
                if !matches!(created, Ok(Some(_))) {
                    context.memory.created_orders.forget(&key);
                }
                if created?.is_some() {
                    let (paces, uid) = (&context.memory.paces, request.uid_or_empty());
                    paces.put(uid.to_owned(), Pace::after(paces.get(uid), 0, Cause::Other, context.now()));
                }
                context.memory.expectations.expect(made, context.now());
            }
            Action::AdoptOrder(name) => {
                k8s::patch(&orders, MANAGER, &name, Patch::Merge(objects::order::adoption(request))).await?;
            }
            Action::DeleteOrder(name) => {
                // One without an owner enqueues nothing when it is gone.
                requeue = Requeue::After(EXPECTATION_TTL);
                context.memory.expectations.forget(&format!("{}/{name}", request.uid_or_empty()));
                let seen = context.cache.orders.get(namespace, &name).and_then(|it| it.uid());
                k8s::delete(&orders, &name, seen).await?;
            }
            Action::Publish(note) => context.kube.publish(MANAGER, &note, request, context.now()),
        }
    }
    Ok(requeue)
}
