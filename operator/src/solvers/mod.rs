//! How challenges are solved: what makes the CA's request reach an answer, how that is probed, and how it is undone.
//!
//! Does the I/O that `decision::challenge` asks for; must not decide what a result means, or when to try again. An enum, not a
//! trait: the set of solvers is closed, and a `match` finds every place that a new one has to fill. Next: `http01_ingress.rs` and
//! `http01_gateway.rs`.

mod http01;
mod http01_gateway;
mod http01_ingress;
pub mod service;

use std::fmt::Debug;

use crds::acme::Challenge;
use kube::{Api, Resource, ResourceExt, api::Patch};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use self::{http01_gateway::Http01Gateway, http01_ingress::Http01Ingress};
use crate::{
    context::Context,
    decision::challenge::{Acceptance, Presentation, Probe, ProbeResult, RouteWrite},
    error::ReconcileError,
    k8s,
    objects::challenge,
};

/// Field manager of what is written for one Challenge, as cert-manager names it.
pub const FIELD_MANAGER: &str = "cert-manager-challenges";

/// How one Challenge is solved.
#[derive(Clone, Copy, Debug)]
pub enum Solver<'a> {
    /// HTTP-01 (RFC 8555 section 8.3), with an Ingress that routes the challenge's path to http01-solver.
    Http01Ingress(Http01Ingress<'a>),
    /// HTTP-01 with an HTTPRoute of the Gateway API.
    Http01Gateway(Http01Gateway<'a>),
}

/// The solver of a Challenge is one that this operator does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this operator solves challenges only with http01.ingress and http01.gatewayHTTPRoute so far. Configure such a solver in the \
     issuer for this name"
)]
pub struct Unsupported;

impl<'a> Solver<'a> {
    /// The solver that a Challenge asks for.
    ///
    /// # Errors
    /// [`Unsupported`]: the Challenge can't be solved until the issuer has another solver.
    pub fn of(challenge: &'a Challenge) -> Result<Self, Unsupported> {
        let http01 = challenge.spec.solver.http01.as_ref().ok_or(Unsupported)?;
        match (&http01.ingress, &http01.gateway_http_route) {
            (Some(solver), _) => Ok(Self::Http01Ingress(Http01Ingress { challenge, solver })),
            (None, Some(solver)) => Ok(Self::Http01Gateway(Http01Gateway { challenge, solver })),
            (None, None) => Err(Unsupported),
        }
    }

    /// Makes the challenge's answer reachable. `create_route` is whether an object that the watch does not show may be created.
    ///
    /// # Errors
    /// The API server rejects a request: retry.
    pub async fn present(
        self,
        create_route: bool,
        context: &Context,
    ) -> Result<Presentation, ReconcileError> {
        match self {
            Self::Http01Ingress(solver) => solver.present(create_route, context).await,
            Self::Http01Gateway(solver) => solver.present(create_route, context).await,
        }
    }

    /// Requests the challenge's answer from the Pods that give it, or the way that the CA does.
    pub async fn probe(self, probe: Probe, context: &Context) -> ProbeResult {
        match self {
            Self::Http01Ingress(solver) => solver.probe(probe, context).await,
            Self::Http01Gateway(solver) => solver.probe(probe, context).await,
        }
    }

    /// What ingress controllers say in the status of the route.
    pub fn acceptance(self, context: &Context) -> Acceptance {
        match self {
            Self::Http01Ingress(solver) => solver.acceptance(context),
            Self::Http01Gateway(solver) => solver.acceptance(context),
        }
    }

    /// Undoes what the garbage collector does not: only a Challenge that [needs a finalizer](Self::needs_finalizer) has
    /// something to undo.
    ///
    /// # Errors
    /// The API server rejects a request: retry.
    pub async fn clean_up(self, context: &Context) -> Result<(), ReconcileError> {
        match self {
            Self::Http01Ingress(solver) => solver.clean_up(context).await,
            Self::Http01Gateway(_) => Ok(()),
        }
    }

    /// Whether the Challenge must outlive its deletion until [`Self::clean_up`] has run.
    pub fn needs_finalizer(self) -> bool {
        match self {
            Self::Http01Ingress(solver) => challenge::needs_finalizer(&solver.challenge.spec.solver),
            // The garbage collector deletes the route.
            Self::Http01Gateway(_) => false,
        }
    }
}

/// Writes the route of a Challenge, which `existing` is if the watch shows it. Returns whether something was written.
async fn write_route<K>(
    write: RouteWrite,
    api: &Api<K>,
    existing: Option<&K>,
    desired: &K,
) -> Result<bool, ReconcileError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    match write {
        RouteWrite::Nothing => Ok(false),
        RouteWrite::Create => Ok(k8s::create(api, FIELD_MANAGER, desired).await?.is_some()),
        RouteWrite::TakeOver => {
            let owner = json!({ "metadata": {
                "uid": existing.and_then(ResourceExt::uid),
                "ownerReferences": desired.owner_references(),
            } });
            k8s::patch(api, FIELD_MANAGER, &desired.name_any(), Patch::Merge(owner)).await?;
            k8s::apply(api, FIELD_MANAGER, desired, true).await?;
            Ok(true)
        }
        RouteWrite::Restore => {
            let applied = k8s::apply(api, FIELD_MANAGER, desired, true).await?;
            Ok(existing.is_none_or(|before| before.resource_version() != applied.resource_version()))
        }
    }
}
