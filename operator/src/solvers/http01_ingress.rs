//! HTTP-01 through an Ingress: one of our own for each Challenge, or a path in an Ingress of the user's.

use std::sync::Arc;

use crds::{
    acme::{Challenge, IngressSolver},
    annotations::request,
    meta::CLUSTER_ISSUER_KIND,
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Api, ResourceExt, api::Patch};

use super::{FIELD_MANAGER, http01, service, write_route};
use crate::{
    cache::class_name,
    context::Context,
    decision::{
        challenge::{Acceptance, Presentation, Probe, ProbeResult, route_write},
        ingress_controllers::{ClassLookup, Peculiarity, advice_while_waiting, class_note},
    },
    error::{ReconcileError, Tried},
    k8s,
    objects::{
        challenge::edited_ingress,
        metadata::controller_of_kind,
        route::{self, PathType},
    },
    self_check::NO_ROUTE,
};

/// The solver `http01.ingress` of a Challenge.
#[derive(Clone, Copy, Debug)]
pub struct Http01Ingress<'a> {
    pub(super) challenge: &'a Challenge,
    pub(super) solver: &'a IngressSolver,
}

impl Http01Ingress<'_> {
    pub(super) async fn present(
        self,
        create_route: bool,
        context: &Context,
    ) -> Result<Presentation, ReconcileError> {
        if let Some(annotation) = self.refused_annotation() {
            return Ok(Presentation::Blocked(format!(
                "the solver's ingressTemplate sets the annotation {annotation:?}, which only a ClusterIssuer may set, because it \
                 can change the ingress controller's configuration. Remove it from the Issuer"
            )));
        }
        let node_port = self.solver.service_type.as_deref() == Some("NodePort");
        service::ensure(&self.namespace(), node_port, context).await?;
        service::ensure_for_knative(self.challenge, context).await?;
        match edited_ingress(&self.challenge.spec.solver) {
            Some(name) => self.add_path(name, context).await,
            None => self.write_ingress(create_route, context).await,
        }
    }

    fn refused_annotation(&self) -> Option<&str> {
        let is_tenants = self.challenge.spec.issuer_ref.identity().kind != CLUSTER_ISSUER_KIND;
        route::refused_annotation(self.solver).filter(|_| is_tenants)
    }

    pub(super) async fn probe(self, probe: Probe, context: &Context) -> ProbeResult {
        match (probe, http01::probe(self.challenge, probe, context).await) {
            (Probe::Route | Probe::Replicas, ProbeResult::WrongAnswer(why)) => {
                let why = self.with_gateway(self.with_class(why, context), context);
                ProbeResult::WrongAnswer(self.with_controller(why, context))
            }
            (Probe::Route | Probe::Replicas, ProbeResult::Unreachable(why)) => {
                ProbeResult::Unreachable(self.with_gateway(self.with_class(why, context), context))
            }
            (_, result) => result,
        }
    }

    /// A text that also says if the Certificate was created for a Gateway, which serves no Ingress.
    fn with_gateway(self, why: String, context: &Context) -> String {
        let order = context.cache.order_of_challenge(self.challenge);
        let order = order.as_ref().map(|order| context.cache.routed(order));
        let annotation = |name: &str| order.as_ref().and_then(|order| order.annotations().get(name));
        match (annotation(request::PARENT_REF_KIND), annotation(request::PARENT_REF_NAME)) {
            (Some(kind), Some(name)) => format!(
                "{why}. The issuer's solver for this name creates an Ingress, but the Certificate is for the {kind} {name:?}, which \
                 serves HTTPRoutes: if it also serves port 80 of the name, use http01.gatewayHTTPRoute in the issuer"
            ),
            _ => why,
        }
    }

    /// A text with the ingress class of the route, which may be wrong.
    fn with_class(self, why: String, context: &Context) -> String {
        if let Some(name) = edited_ingress(&self.challenge.spec.solver) {
            return why.replace("of the issuer's solver", &format!("of the Ingress {name:?}"));
        }
        let class = self.solver.ingress_class_name.as_ref().or(self.solver.class.as_ref());
        let Some(class) = class else { return why };
        let why = if why.ends_with(NO_ROUTE) { format!("{why}: {class:?}") } else { why };
        let of_user = self.users_class(context);
        match class_note(class, of_user.as_ref(), &context.cache.class_names()) {
            Some(note) => format!("{why}. Note that {note}"),
            None => why,
        }
    }

    /// The Ingress that the Certificate was created for, and its class.
    fn users_class(self, context: &Context) -> Option<(String, String)> {
        let certificate =
            context.cache.certificate_of(&*context.cache.order_of_challenge(self.challenge)?)?;
        let ingress = controller_of_kind::<Ingress>(&certificate.metadata)?;
        let ingress = context.cache.ingresses.get(&self.namespace(), &ingress.name)?;
        Some((ingress.name_any(), class_name(&ingress)?.to_owned()))
    }

    /// A text that also says what is special about the ingress controller.
    fn with_controller(self, why: String, context: &Context) -> String {
        // Kubernetes adds the default class to an Ingress without one.
        let class = self.route(context).and_then(|ingress| context.cache.class_of(&ingress));
        let Some(ClassLookup::Known(Some(peculiarity))) = class else { return why };
        match advice_while_waiting(peculiarity, edited_ingress(&self.challenge.spec.solver)) {
            Some(advice) => format!("{why}. Note that {advice}"),
            None => why,
        }
    }

    pub(super) fn acceptance(self, context: &Context) -> Acceptance {
        let ingress = self.route(context);
        let status = ingress.as_ref().and_then(|ingress| ingress.status.as_ref()?.load_balancer.as_ref());
        let addresses = status.and_then(|status| status.ingress.as_ref());
        match addresses {
            Some(addresses) if !addresses.is_empty() => Acceptance::Accepted,
            _ => Acceptance::Unknown,
        }
    }

    /// The Ingress that has the path of the challenge, as the watch shows it.
    fn route(self, context: &Context) -> Option<Arc<Ingress>> {
        let edited = edited_ingress(&self.challenge.spec.solver);
        let name = edited.map_or_else(|| route::route_name(&self.challenge.name_any()), ToOwned::to_owned);
        context.cache.ingresses.get(&self.namespace(), &name)
    }

    pub(super) async fn clean_up(self, context: &Context) -> Result<(), ReconcileError> {
        let lock = context.memory.namespace_lock(&self.namespace());
        let _guard = lock.lock().await;
        if let Some(name) = edited_ingress(&self.challenge.spec.solver)
            && let Some(ingress) = self.users_ingress(name, context).await?
            && let Some(patch) = route::patch_to_remove(&ingress, self.challenge)
        {
            self.patch(name, patch, context).await?;
        }
        Ok(())
    }

    async fn write_ingress(
        self,
        create_route: bool,
        context: &Context,
    ) -> Result<Presentation, ReconcileError> {
        let mut desired = route::ingress(self.challenge, self.solver, &context.settings.solver_labels);
        let existing = context.cache.ingresses.get(&self.namespace(), &desired.name_any());
        let write = route_write(existing.as_deref(), &desired, create_route);
        let (api, existing) = (self.api(context), existing.as_deref());
        let written = match write_route(write, &api, existing, &desired).await {
            // Admission webhooks of ingress controllers reject a dot in a path of type Exact.
            Err(error) if error.is_rejected() => {
                route::relax_path_type(&mut desired);
                let relaxed = write_route(write, &api, existing, &desired).await;
                relaxed.map_err(|second| also_rejected(error, &second))?
            }
            written => written?,
        };
        Ok(if written { Presentation::Written } else { Presentation::InPlace })
    }

    /// Adds the path to an Ingress of the user's. Its rules are one atomic list, so the patch touches nothing but this path.
    async fn add_path(self, name: &str, context: &Context) -> Result<Presentation, ReconcileError> {
        // One at a time, because the patch of each Challenge changes the rules that the others have read.
        let lock = context.memory.namespace_lock(&self.namespace());
        let _guard = lock.lock().await;
        let Some(ingress) = self.users_ingress(name, context).await? else {
            return Ok(Presentation::Blocked(format!(
                "the Ingress {name:?} that the solver names in http01.ingress.name does not exist in this namespace. Create \
                 it, or change the solver"
            )));
        };
        let Some(patch) = route::patch_to_add(&ingress, self.challenge, PathType::Exact) else {
            return Ok(Presentation::InPlace);
        };
        let class = context.cache.class_of(&ingress);
        if class == Some(ClassLookup::Known(Some(Peculiarity::OneIngressPerHost)))
            && !route::can_be_added_to(&ingress, self.challenge)
        {
            return Ok(Presentation::Blocked(format!(
                "the Ingress {name:?} has no rule with paths for the host, and its ingress controller rejects two rules with one host. \
                 Add a path to the rule, or name another Ingress in the annotation \
                 acme.cert-manager.io/http01-override-ingress-name of the Certificate"
            )));
        }
        if let Err(error) = self.patch(name, patch, context).await {
            let relaxed = route::patch_to_add(&ingress, self.challenge, PathType::Relaxed);
            match relaxed.filter(|_| error.is_rejected()) {
                Some(patch) => {
                    let relaxed = self.patch(name, patch, context).await;
                    relaxed.map_err(|second| also_rejected(error, &second))?;
                }
                None => return Err(error),
            }
        }
        Ok(Presentation::Written)
    }

    async fn users_ingress(self, name: &str, context: &Context) -> Result<Option<Ingress>, ReconcileError> {
        let read = self.api(context).get_opt(name).await;
        read.tried(|| format!("read Ingress {}/{name}", self.namespace()))
    }

    async fn patch(
        self,
        name: &str,
        patch: json_patch::Patch,
        context: &Context,
    ) -> Result<(), ReconcileError> {
        k8s::patch(&self.api(context), FIELD_MANAGER, name, Patch::Json(patch)).await.map(drop)
    }

    fn api(self, context: &Context) -> Api<Ingress> {
        context.kube.api(&self.namespace())
    }

    fn namespace(self) -> String {
        self.challenge.namespace().unwrap_or_default()
    }
}

/// The rejection of a path of the type `Exact`, with that of `ImplementationSpecific` if it is for another reason: either may be the one
/// that a user can do something about.
fn also_rejected(mut first: ReconcileError, second: &ReconcileError) -> ReconcileError {
    if second.is_rejected()
        && let ReconcileError::Kube { error, .. } = &mut first
        && let kube::Error::Api(status) = &mut **error
        && let ReconcileError::Kube { error, .. } = second
        && let kube::Error::Api(other) = &**error
        && status.message != other.message
    {
        let message = status.message.trim_end_matches('.');
        status.message = format!("{message}. With the path type ImplementationSpecific: {}", other.message);
    }
    first
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn rejected(message: &str, code: u16) -> ReconcileError {
        let status = Status::failure(message, "BadRequest").with_code(code).boxed();
        ReconcileError::Kube {
            what: "create Ingress a/b".to_owned(),
            error: Box::new(kube::Error::Api(status)),
        }
    }

    /// With strict types of paths, every other reason of ingress-nginx comes second.
    #[test]
    fn both_reasons_of_a_rejection_are_reported() {
        let text = |second: ReconcileError| also_rejected(rejected("no dots.", 400), &second).to_string();
        assert_eq!(
            text(rejected("no snippets", 400)),
            "failed to create Ingress a/b: no dots. With the path type ImplementationSpecific: no snippets"
        );
        for second in [rejected("no dots.", 400), rejected("timeout", 500)] {
            assert_eq!(text(second), "failed to create Ingress a/b: no dots.");
        }
    }
}
