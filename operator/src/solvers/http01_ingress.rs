//! HTTP-01 through an Ingress: one of our own for each Challenge, or a path in an Ingress of the user's.

use crds::acme::{Challenge, IngressSolver};
use futures::future::join_all;
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Api, ResourceExt, api::Patch};

use super::{FIELD_MANAGER, service};
use crate::{
    context::Context,
    decision::challenge::{Presentation, Probe, ProbeResult, RouteWrite, pods_result, route_write},
    error::{ReconcileError, Tried},
    k8s,
    objects::{challenge::edited_ingress, route},
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
        let node_port = self.solver.service_type.as_deref() == Some("NodePort");
        service::ensure(&self.namespace(), node_port, context).await?;
        match edited_ingress(&self.challenge.spec.solver) {
            Some(name) => self.add_path(name, context).await,
            None => self.write_ingress(create_route, context).await,
        }
    }

    pub(super) async fn probe(self, probe: Probe, context: &Context) -> ProbeResult {
        let spec = &self.challenge.spec;
        let check = &context.self_check;
        match probe {
            Probe::Solver => {
                let pods = context.cache.solver_addresses();
                let probes =
                    pods.iter().map(|pod| check.probe_solver(*pod, &spec.dns_name, &spec.token, &spec.key));
                pods_result(join_all(probes).await)
            }
            Probe::Route => check.probe_route(&spec.dns_name, &spec.token, &spec.key).await,
        }
    }

    pub(super) async fn clean_up(self, context: &Context) -> Result<(), ReconcileError> {
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
        let desired = route::ingress(self.challenge, self.solver);
        let existing = context.cache.ingresses.get(&self.namespace(), &desired.name_any());
        match route_write(existing.as_deref(), &desired, create_route) {
            RouteWrite::Nothing => {}
            RouteWrite::Create => drop(k8s::create(&self.api(context), FIELD_MANAGER, &desired).await?),
            RouteWrite::Restore => drop(k8s::apply(&self.api(context), FIELD_MANAGER, &desired, true).await?),
        }
        Ok(Presentation::Presented)
    }

    /// Adds the path to an Ingress of the user's. Its rules are one atomic list, so the patch touches nothing but this path.
    async fn add_path(self, name: &str, context: &Context) -> Result<Presentation, ReconcileError> {
        let Some(ingress) = self.users_ingress(name, context).await? else {
            return Ok(Presentation::Blocked(format!(
                "the Ingress {name:?} that the solver names in http01.ingress.name does not exist in this namespace. Create \
                 it, or change the solver"
            )));
        };
        if let Some(patch) = route::patch_to_add(&ingress, self.challenge) {
            self.patch(name, patch, context).await?;
        }
        Ok(Presentation::Presented)
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
