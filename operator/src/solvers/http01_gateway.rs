//! HTTP-01 through an HTTPRoute of the Gateway API: one for each Challenge.

use std::sync::Arc;

use crds::{
    acme::{Challenge, GatewaySolver},
    annotations::challenge::TOKEN_LABEL,
    gateway::HttpRoute,
};
use kube::{Api, ResourceExt};

use super::{http01, service, write_route};
use crate::{
    context::Context,
    decision::challenge::{
        Acceptance, Presentation, Probe, ProbeResult, explanation, http_route_write, is_accepted,
    },
    error::ReconcileError,
    k8s,
    objects::{
        metadata::{Identity, controller_of_kind, includes},
        route,
    },
    self_check::NO_ROUTE,
};

/// How many HTTPRoutes of cert-manager are deleted at a time. It creates one.
const MOST_LEFTOVERS: usize = 10;

/// The solver `http01.gatewayHTTPRoute` of a Challenge.
#[derive(Clone, Copy, Debug)]
pub struct Http01Gateway<'a> {
    pub(super) challenge: &'a Challenge,
    pub(super) solver: &'a GatewaySolver,
}

impl Http01Gateway<'_> {
    pub(super) async fn present(
        self,
        create_route: bool,
        context: &Context,
    ) -> Result<Presentation, ReconcileError> {
        if context.cache.definitions.http_routes.is_missing() {
            return Ok(Presentation::Blocked(if context.settings.gateway_api {
                "the solver uses gatewayHTTPRoute, but the Gateway API is not installed in this cluster: it has no CRD \
                 httproutes.gateway.networking.k8s.io. Install the Gateway API, or configure another solver in the issuer"
                    .to_owned()
            } else {
                "the solver uses gatewayHTTPRoute, but the operator runs with --enable-gateway-api=false. Remove that flag, or \
                 configure another solver in the issuer"
                    .to_owned()
            }));
        }
        let node_port = self.solver.service_type.as_deref() == Some("NodePort");
        service::ensure(self.namespace(), node_port, context).await?;
        self.delete_leftovers(context).await?;
        let desired = route::http_route(self.challenge, self.solver, &context.settings.solver_labels);
        let existing = self.route(context);
        let write = http_route_write(existing.as_deref(), &desired, create_route);
        let written = write_route(write, &self.api(context), existing.as_deref(), &desired).await?;
        Ok(if written { Presentation::Written } else { Presentation::InPlace })
    }

    /// Deletes the HTTPRoutes that cert-manager has created for this Challenge. They are older, so they would get the requests.
    async fn delete_leftovers(self, context: &Context) -> Result<(), ReconcileError> {
        let labels = route::solver_labels(self.challenge);
        let (own, token) = (route::route_name(&self.challenge.name_any()), labels.get(TOKEN_LABEL));
        let index = &context.cache.indexes.http_routes_by_token;
        let names = index.names(self.namespace(), token.map_or("", |token| token));
        let routes = names.iter().filter_map(|name| context.cache.http_routes.get(self.namespace(), name));
        let is_left = |other: &HttpRoute| {
            let name = other.name_any();
            let owner = controller_of_kind::<Challenge>(&other.metadata);
            name != own
                && name.starts_with(route::SERVICE)
                && includes(other.labels(), &labels)
                && owner.is_some_and(|owner| owner.uid == self.challenge.uid_or_empty())
        };
        for left in routes.filter(|route| is_left(route)).take(MOST_LEFTOVERS) {
            k8s::delete(&self.api(context), &left.name_any(), left.uid()).await?;
        }
        Ok(())
    }

    /// Probes the challenge. If the route leads nowhere, controllers may say why in its status.
    pub(super) async fn probe(self, probe: Probe, context: &Context) -> ProbeResult {
        let result = http01::probe(self.challenge, probe, context).await;
        let explained = |why: String| {
            // An HTTPRoute has no ingress class.
            let why = why.replace(NO_ROUTE, "the HTTPRoute does not lead to the solver yet");
            match self.route(context).and_then(|route| explain(&route, context)) {
                Some(explanation) => format!("{explanation} ({why})"),
                None => why,
            }
        };
        match (probe, result) {
            (Probe::Solver, result) | (_, result @ ProbeResult::Reachable) => result,
            (_, ProbeResult::WrongAnswer(why)) => ProbeResult::WrongAnswer(explained(why)),
            (_, ProbeResult::Unreachable(why)) => ProbeResult::Unreachable(explained(why)),
        }
    }

    pub(super) fn acceptance(self, context: &Context) -> Acceptance {
        match self.route(context) {
            Some(route) if is_accepted(&route) => {
                explain(&route, context).map_or(Acceptance::Accepted, |_| Acceptance::AcceptedInVain)
            }
            _ => Acceptance::Unknown,
        }
    }

    /// The route, as the watch shows it.
    fn route(self, context: &Context) -> Option<Arc<HttpRoute>> {
        context.cache.http_routes.get(self.namespace(), &route::route_name(&self.challenge.name_any()))
    }

    fn api(self, context: &Context) -> Api<HttpRoute> {
        context.kube.api(self.namespace())
    }

    fn namespace(&self) -> &str {
        self.challenge.namespace_or_empty()
    }
}

/// What is known to keep requests from a route, and what to do about it.
fn explain(route: &HttpRoute, context: &Context) -> Option<String> {
    let gateway = |namespace: &str, name: &str| context.cache.gateways.get(namespace, name);
    // A release for some namespaces doesn't know the Gateways of others, and without the right to read them there are none.
    let knows_all = context.settings.namespaces.is_empty() && !context.cache.gateways.is_empty();
    explanation(route, knows_all.then_some(&gateway as &dyn Fn(&str, &str) -> _))
}
