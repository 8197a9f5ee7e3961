//! Challenges of Orders.

use crds::{
    acme::{Authorization, Challenge, ChallengeSpec, ChallengeType, OfferedChallenge, Order, Solver},
    annotations::{challenge, request},
};
use kube::ResourceExt;

use super::{metadata::owned, names};

/// The Challenge of an Order for one of its authorizations.
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
    let edits_in_place = edited_ingress(&solver).is_some();
    let spec = ChallengeSpec {
        authorization_url: authorization.url.clone(),
        dns_name: authorization.identifier.clone().unwrap_or_default(),
        issuer_ref: of.spec.issuer_ref.clone(),
        key: key_authorization,
        solver,
        token: offered.token.clone(),
        type_,
        url: offered.url.clone(),
        wildcard: authorization.wildcard.filter(|wildcard| *wildcard),
    };
    let mut made = Challenge::new(&name, spec);
    made.metadata = owned(&name, of);
    // What is owned goes with its owner; only a user's own Ingress has to be cleaned up by us.
    made.metadata.finalizers = edits_in_place.then(|| vec![challenge::FINALIZER.to_owned()]);
    made
}

/// The user's own Ingress that a solver edits, if it does.
pub fn edited_ingress(solver: &Solver) -> Option<&str> {
    let ingress = solver.http01.as_ref()?.ingress.as_ref()?;
    ingress.name.as_deref().filter(|name| !name.is_empty())
}

/// An issuer's solver with what the Certificate's annotations say instead.
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
