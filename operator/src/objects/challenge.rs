//! The Challenges of an Order.

use crds::{
    acme::{Authorization, Challenge, ChallengeSpec, ChallengeType, OfferedChallenge, Order, Solver},
    annotations::{challenge::FINALIZER, request},
};
use kube::ResourceExt;

use super::{metadata::owned, names};

/// Builds the Challenge of an Order for one of its authorizations: `offered` is the challenge of it that is solved.
pub fn build(
    of: &Order,
    authorization: &Authorization,
    offered: &OfferedChallenge,
    type_: ChallengeType,
    solver: &Solver,
    key_authorization: String,
) -> Challenge {
    let name = names::challenge(&of.name_any(), &authorization.url);
    let solver = overridden(solver, of);
    let finalizers = needs_finalizer(&solver).then(|| vec![FINALIZER.to_owned()]);
    let spec = ChallengeSpec {
        authorization_url: authorization.url.clone(),
        dns_name: authorization.identifier.clone().unwrap_or_default(),
        issuer_ref: of.spec.issuer_ref.clone(),
        key: key_authorization,
        solver: solver.into(),
        token: offered.token.clone(),
        type_,
        url: offered.url.clone(),
        wildcard: authorization.wildcard.filter(|wildcard| *wildcard),
    };
    let mut challenge = Challenge::new(&name, spec);
    challenge.metadata = owned(&name, of);
    challenge.metadata.finalizers = finalizers;
    challenge
}

/// Whether a Challenge with this solver must outlive its deletion until it has been cleaned up. The garbage collector deletes objects
/// that the Challenge owns; a path in a user's Ingress is the only thing that it can't.
pub fn needs_finalizer(solver: &Solver) -> bool {
    edited_ingress(solver).is_some()
}

/// The user's Ingress that a solver adds a path to, if it does not create its own.
pub fn edited_ingress(solver: &Solver) -> Option<&str> {
    let ingress = solver.http01.as_ref()?.ingress.as_ref()?;
    ingress.name.as_deref().filter(|name| !name.is_empty())
}

/// An issuer's solver, with the Ingress or class that annotations of the Certificate set instead: the Order has them too.
pub fn overridden(solver: &Solver, order: &Order) -> Solver {
    let mut solver = solver.clone();
    let Some(ingress) = solver.http01.as_mut().and_then(|http01| http01.ingress.as_mut()) else {
        return solver;
    };
    let annotation = |name: &str| order.annotations().get(name).filter(|value| !value.is_empty()).cloned();
    let name = annotation(request::OVERRIDE_INGRESS_NAME);
    let class = annotation(request::OVERRIDE_INGRESS_CLASS);
    let class_name = annotation(request::OVERRIDE_INGRESS_CLASS_NAME);
    if name.is_some() || class.is_some() || class_name.is_some() {
        (ingress.name, ingress.class, ingress.ingress_class_name) = (name, class, class_name);
    }
    solver
}
