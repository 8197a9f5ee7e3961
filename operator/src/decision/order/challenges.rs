//! The Challenges of an Order: which are missing, which belong to nothing, and how far they are.

use std::sync::Arc;

use crds::acme::{
    AcmeIssuer, Authorization, Challenge, ChallengeType, OfferedChallenge, Order, Solver, State,
};
use kube::{Resource, ResourceExt};

use super::{Action, View};
use crate::{
    acme,
    decision::solver_select::{self, Solvers},
    objects::{
        self,
        challenge::ExpectedSolver,
        metadata::{Identity, controller_of},
    },
};

/// How many Challenges are created in one reconcile: each has a copy of its solver. Their creation is followed by another reconcile.
const MOST_CREATIONS: usize = 100;

/// A Challenge to create. Its key authorization takes the account's key, which no decision has.
#[derive(Clone, Debug, PartialEq)]
pub struct ChallengePlan {
    /// What to prove.
    pub authorization: Authorization,
    /// One of the challenges that the server offers for it.
    pub offered: OfferedChallenge,
    /// The type of that challenge.
    pub type_: ChallengeType,
    /// The solver that proves it.
    pub solver: Solver,
}

impl ChallengePlan {
    /// The Challenge.
    pub(super) fn build(&self, order: &Order, key_authorization: String) -> Challenge {
        let Self { authorization, offered, type_, solver } = self;
        objects::challenge::build(order, authorization, offered, *type_, solver, key_authorization)
    }
}

/// How far the Challenges of an Order are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChallengesState {
    /// All are valid.
    Valid,
    /// Some are not final.
    Waiting {
        /// What the first of these waits for, if its status says so.
        reason: Option<String>,
    },
    /// One has failed.
    Failed {
        /// Its state.
        state: State,
        /// Why.
        reason: String,
    },
}

/// The Challenges to create now: one for each authorization that was not valid when it was read and has none.
///
/// # Errors
/// Why there is no solver for one of them, for people.
pub(super) fn missing(
    view: &View<'_>,
    authorizations: &[Authorization],
) -> Result<Vec<ChallengePlan>, String> {
    // A Challenge that another operator created for the authorization is as good as ours.
    let has_none = |authorization: &&Authorization| {
        view.challenges.iter().all(|challenge| challenge.spec.authorization_url != authorization.url)
    };
    let solvers = view.issuer.acme.solvers.as_deref().unwrap_or_default();
    let solvers = Solvers::new(solvers, view.order.labels());
    let plans =
        open(authorizations).filter(has_none).map(|authorization| plan(view, &solvers, authorization));
    let plans: Vec<_> = plans.collect::<Result<_, _>>()?;
    Ok(plans.into_iter().take(MOST_CREATIONS).map(Plan::build).collect())
}

/// The Challenges that belong to none of the authorizations that need one, and those that a user has meanwhile given another
/// solver, by a change of the issuer.
pub(super) fn strays(view: &View<'_>, authorizations: &[Authorization]) -> Vec<String> {
    let solvers: Vec<_> = expected_solvers(view.order, view.issuer.acme).collect();
    let is_stray = |challenge: &&Arc<Challenge>| {
        open(authorizations).all(|authorization| challenge.spec.authorization_url != authorization.url)
            || !is_valid(challenge)
                && !view.submitted.contains(&challenge.name_any())
                && !solvers.iter().any(|solver| has_solver(challenge, solver))
    };
    view.challenges.iter().filter(is_stray).map(|stray| stray.name_any()).collect()
}

/// Whether a Challenge that an Order does not own is one of an Order of the same name: that was deleted without its Challenges,
/// or a backup of it was restored.
pub fn is_left_behind(challenge: &Challenge, order: &Order) -> bool {
    controller_of(&challenge.metadata)
        .is_none_or(|owner| owner.kind == Order::kind(&()) && owner.name == order.name_any())
}

fn is_valid(challenge: &Challenge) -> bool {
    challenge.status.as_ref().is_some_and(|status| status.state == Some(State::Valid))
}

/// The solvers that the Challenges of an Order may have.
fn expected_solvers(order: &Order, acme: &AcmeIssuer) -> impl Iterator<Item = ExpectedSolver> {
    acme.solvers.iter().flatten().map(|solver| ExpectedSolver::of(solver, order))
}

fn has_solver(challenge: &Challenge, solver: &ExpectedSolver) -> bool {
    solver.is(&challenge.spec.solver, challenge.namespace_or_empty())
}

/// Deletes Challenges, except those whose deletion the watch has not shown yet.
pub(super) fn delete(view: &View<'_>, mut names: Vec<String>) -> Vec<Action> {
    names.retain(|name| !view.deleted.contains(name));
    if names.is_empty() { Vec::new() } else { vec![Action::DeleteChallenges(names)] }
}

/// How far Challenges are that are all there.
pub(super) fn state(challenges: &[Arc<Challenge>]) -> ChallengesState {
    let state = |challenge: &Challenge| challenge.status.as_ref().and_then(|status| status.state);
    let reason = |challenge: &Challenge| challenge.status.as_ref().and_then(|status| status.reason.clone());
    let named = |challenge: &Challenge, reason: String| format!("{}: {reason}", challenge.spec.dns_name);
    let failed = challenges.iter().find_map(|challenge| match state(challenge) {
        Some(state @ (State::Invalid | State::Expired | State::Errored)) => Some((state, challenge)),
        Some(State::Pending | State::Ready | State::Processing | State::Valid) | None => None,
    });
    if let Some((state, failed)) = failed {
        let reason = reason(failed).unwrap_or_else(|| "the ACME server gave no reason".to_owned());
        return ChallengesState::Failed { state, reason: named(failed, reason) };
    }
    let mut waiting = challenges.iter().filter(|challenge| state(challenge) != Some(State::Valid)).peekable();
    if waiting.peek().is_none() {
        return ChallengesState::Valid;
    }
    let reason = waiting.find_map(|challenge| Some(named(challenge, reason(challenge)?)));
    ChallengesState::Waiting { reason }
}

/// The authorizations that were not valid when they were read.
fn open(authorizations: &[Authorization]) -> impl Iterator<Item = &Authorization> {
    authorizations.iter().filter(|authorization| authorization.initial_state != Some(State::Valid))
}

/// What a [`ChallengePlan`] is made of.
struct Plan<'a> {
    authorization: &'a Authorization,
    offered: &'a OfferedChallenge,
    type_: ChallengeType,
    solver: &'a Solver,
}

impl Plan<'_> {
    fn build(self) -> ChallengePlan {
        let Self { authorization, offered, type_, solver } = self;
        let (authorization, offered, solver) = (authorization.clone(), offered.clone(), solver.clone());
        ChallengePlan { authorization, offered, type_, solver }
    }
}

fn plan<'a>(
    view: &View<'_>,
    solvers: &Solvers<'a>,
    authorization: &'a Authorization,
) -> Result<Plan<'a>, String> {
    let identifier = authorization.identifier.as_deref().unwrap_or_default();
    let wildcard = authorization.wildcard.unwrap_or_default();
    let offered = authorization.challenges.as_deref().unwrap_or_default();
    let offered_types: Vec<_> =
        offered.iter().filter_map(|offered| ChallengeType::from_acme_name(&offered.type_)).collect();
    let what = solver_select::Authorization { identifier, wildcard, offered: &offered_types };
    let selected = solvers.select(what).and_then(|(solver, type_)| {
        let offered =
            offered.iter().find(|offered| ChallengeType::from_acme_name(&offered.type_) == Some(type_))?;
        Some((solver, type_, offered))
    });
    let Some((solver, type_, offered)) = selected else {
        let star = if wildcard { "*." } else { "" };
        let hint = if wildcard {
            "; wildcard names require DNS-01, which this operator does not support yet"
        } else {
            ""
        };
        let issuer = view.order.spec.issuer_ref.identity();
        return Err(format!(
            "no configured challenge solvers can be used for {star}{identifier}: none of the issuer's solvers matches the \
             name, the Certificate's labels, and the challenge types that the server offers{hint}. Add a solver to the {} \
             {:?}, or correct a selector",
            issuer.kind, issuer.name
        ));
    };
    check_support(view.order, identifier, solver, type_)?;
    Ok(Plan { authorization, offered, type_, solver })
}

fn check_support(
    order: &Order,
    identifier: &str,
    solver: &Solver,
    type_: ChallengeType,
) -> Result<(), String> {
    if type_ == ChallengeType::Dns01 {
        return Err(format!("the solver for {identifier} uses DNS-01, which this operator does not support"));
    }
    match objects::challenge::parents_problem(solver, order) {
        Some(problem) => Err(format!("the solver for {identifier}: {problem}")),
        None => Ok(()),
    }
}

/// Checks that each name has a solver that this operator supports, before the order is placed, if the server offers what CAs offer. A
/// name without a solver passes: the server may know from before that the account controls it.
///
/// # Errors
/// Why the solver of one of them can't be used, for people.
pub(super) fn check_solvers(view: &View<'_>) -> Result<(), String> {
    let solvers = Solvers::new(view.issuer.acme.solvers.as_deref().unwrap_or_default(), view.order.labels());
    for identifier in super::new_order(&view.order.spec, view.now).identifiers {
        let (name, offered) = match &identifier {
            acme::Identifier::Dns(name) => (name.clone(), &[ChallengeType::Http01, ChallengeType::Dns01][..]),
            acme::Identifier::Ip(address) => (address.to_string(), &[ChallengeType::Http01][..]),
            _ => continue,
        };
        let bare = name.strip_prefix("*.");
        let identifier = bare.unwrap_or(&name);
        let what = solver_select::Authorization { identifier, wildcard: bare.is_some(), offered };
        if let Some((solver, type_)) = solvers.select(what) {
            check_support(view.order, &name, solver, type_)?;
        }
    }
    Ok(())
}

/// The name of a type of challenge at the server.
pub(super) fn type_name(type_: &acme::ChallengeType) -> String {
    match type_ {
        acme::ChallengeType::Dns01 => ChallengeType::Dns01.acme_name().to_owned(),
        acme::ChallengeType::Http01 => ChallengeType::Http01.acme_name().to_owned(),
        acme::ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        acme::ChallengeType::Unknown(name) => name.clone(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Whether an Order asks for a Challenge, with a solver that the issuer has. A Challenge that a user created must not be
/// acted upon (GHSA-8rvj-mm4h-c258).
pub fn asks_for(order: &Order, acme: &AcmeIssuer, challenge: &Challenge) -> bool {
    let Some(status) = &order.status else { return false };
    let offered = status.authorizations.iter().flatten().any(|authorization| {
        authorization.url == challenge.spec.authorization_url
            && authorization.identifier.as_deref() == Some(&challenge.spec.dns_name)
            && authorization
                .challenges
                .iter()
                .flatten()
                .any(|offered| offered.url == challenge.spec.url && offered.token == challenge.spec.token)
    });
    offered
        && order.spec.issuer_ref.identity() == challenge.spec.issuer_ref.identity()
        && expected_solvers(order, acme).any(|solver| has_solver(challenge, &solver))
}
