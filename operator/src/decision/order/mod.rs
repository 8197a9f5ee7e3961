//! What to do next about an Order. One step at a time: each is made durable before the next is looked for.

use std::sync::Arc;

use crds::{
    acme::{AcmeIssuer, Authorization, Challenge, ChallengeType, Order, OrderStatus, State},
    annotations::request::CERTIFICATE_REVISION,
    condition::whole_seconds,
};
use jiff::Timestamp;
use kube::ResourceExt;

use super::solver_select;
use crate::objects::{self, names};

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The Order.
    pub order: &'a Order,
    /// Its status, which may be newer than that in `order`.
    pub status: &'a OrderStatus,
    /// Its issuer's spec.
    pub acme: &'a AcmeIssuer,
    /// Its Challenges, by owner.
    pub challenges: &'a [Arc<Challenge>],
    /// Whether the CSR was sent, as far as is remembered.
    pub finalized: bool,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Places the order at the server.
    Place,
    /// Reads what the server wants to be shown.
    ReadAuthorizations,
    /// Makes Challenges, and deletes those that belong to nothing.
    Challenge {
        /// What is to be made.
        create: Vec<Wanted>,
        /// Names of what is to be deleted.
        delete: Vec<String>,
    },
    /// Waits for Challenges; why, if they say so.
    Wait {
        /// For people.
        reason: Option<String>,
    },
    /// Sends the CSR.
    Finalize,
    /// Looks whether the server is done.
    Poll,
    /// It can't become anything any more.
    Fail {
        /// Which of the final states.
        state: State,
        /// For people.
        reason: String,
    },
    /// It is at its end: deletes its Challenges.
    CleanUp(Vec<String>),
}

/// A Challenge that is to be made. Its key authorization depends on the account's key, which is none of a decision's business.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What is to be shown.
    pub authorization: Authorization,
    /// Which of the challenges that the server offers.
    pub offered: usize,
    /// How.
    pub type_: ChallengeType,
    /// By which solver.
    pub solver: crds::acme::Solver,
}

/// Whether nothing becomes of an order any more.
pub fn is_final(state: Option<State>) -> bool {
    matches!(state, Some(State::Valid | State::Invalid | State::Expired | State::Errored))
}

/// Whether an order renews a certificate: CAs don't count those among an account's new orders.
pub fn renews(order: &Order) -> bool {
    let revision = order.annotations().get(CERTIFICATE_REVISION).and_then(|text| text.parse::<i64>().ok());
    order.spec.replaces.is_some() || revision.is_some_and(|revision| revision > 1)
}

/// Why a new order is not placed yet, for people. `limit` is how many the CA allows in three hours.
pub fn waits_for_turn(limit: Option<u32>, turn: Timestamp) -> String {
    let why = limit.map_or_else(
        || "the CA has asked for a pause in new orders".to_owned(),
        |limit| format!("the CA allows {limit} new orders in 3 hours"),
    );
    format!("waits for its turn: {why}; the next attempt is at {}", whole_seconds(turn).0)
}

/// Decides.
pub fn decide(view: &View<'_>) -> Step {
    if is_final(view.status.state) {
        return Step::CleanUp(view.challenges.iter().map(|challenge| challenge.name_any()).collect());
    }
    if view.status.url.as_deref().unwrap_or_default().is_empty() {
        return Step::Place;
    }
    let known = |list: &&Vec<Authorization>| !list.is_empty() && list.iter().all(is_known);
    let Some(authorizations) = view.status.authorizations.as_ref().filter(known) else {
        return Step::ReadAuthorizations;
    };
    if view.finalized {
        return Step::Poll;
    }
    let open: Vec<_> = authorizations
        .iter()
        .filter(|authorization| authorization.initial_state != Some(State::Valid))
        .collect();
    match wanted(view, &open) {
        Err(reason) => Step::Fail { state: State::Errored, reason },
        Ok((create, delete)) if !create.is_empty() || !delete.is_empty() => {
            Step::Challenge { create, delete }
        }
        Ok(_) => follow(view),
    }
}

/// Whether an authorization was read. cert-manager keeps its URL alone until then.
fn is_known(authorization: &Authorization) -> bool {
    authorization.identifier.as_ref().is_some_and(|identifier| !identifier.is_empty())
}

/// What became of the Challenges, which are all there.
fn follow(view: &View<'_>) -> Step {
    let state = |challenge: &Challenge| challenge.status.as_ref().and_then(|status| status.state);
    let reason = |challenge: &Challenge| challenge.status.as_ref().and_then(|status| status.reason.clone());
    let failed = view
        .challenges
        .iter()
        .find(|challenge| matches!(state(challenge), Some(State::Invalid | State::Expired | State::Errored)));
    if let Some(failed) = failed {
        let name = &failed.spec.dns_name;
        let reason = reason(failed).unwrap_or_else(|| "the server gives no reason".to_owned());
        return Step::Fail {
            state: state(failed).unwrap_or(State::Errored),
            reason: format!("{name}: {reason}"),
        };
    }
    if view.challenges.iter().all(|challenge| state(challenge) == Some(State::Valid)) {
        return Step::Finalize;
    }
    let waiting = view
        .challenges
        .iter()
        .find(|challenge| state(challenge) != Some(State::Valid) && reason(challenge).is_some());
    let reason =
        waiting.and_then(|challenge| Some(format!("{}: {}", challenge.spec.dns_name, reason(challenge)?)));
    Step::Wait { reason }
}

/// Which Challenges are missing, and which are there for nothing.
fn wanted(view: &View<'_>, open: &[&Authorization]) -> Result<(Vec<Wanted>, Vec<String>), String> {
    let order = view.order.name_any();
    let mut create = Vec::new();
    let mut kept = Vec::new();
    for authorization in open {
        let name = names::challenge(&order, &authorization.url);
        // One that another operator made for the same authorization is as good.
        let there =
            view.challenges.iter().find(|challenge| challenge.spec.authorization_url == authorization.url);
        if let Some(challenge) = there {
            kept.push(challenge.name_any());
        } else {
            create.push(choose(view, authorization)?);
            kept.push(name);
        }
    }
    let delete =
        view.challenges.iter().map(|challenge| challenge.name_any()).filter(|name| !kept.contains(name));
    Ok((create, delete.collect()))
}

fn choose(view: &View<'_>, authorization: &Authorization) -> Result<Wanted, String> {
    let identifier = authorization.identifier.as_deref().unwrap_or_default();
    let wildcard = authorization.wildcard.unwrap_or_default();
    let offered = authorization.challenges.as_deref().unwrap_or_default();
    let types: Vec<_> = offered.iter().filter_map(|challenge| type_of(&challenge.type_)).collect();
    let solvers = view.acme.solvers.as_deref().unwrap_or_default();
    let what = solver_select::Authorization { identifier, wildcard, offered: &types };
    let Some((solver, chosen)) = solver_select::select(solvers, view.order.labels(), what) else {
        let star = if wildcard { "*." } else { "" };
        let hint = if wildcard { "; a wildcard can only be shown by DNS-01" } else { "" };
        return Err(format!(
            "no configured challenge solvers can be used for {star}{identifier}: the issuer has {}, and none of them fits \
             its name, the Certificate's labels and the challenges that the server offers{hint}",
            solvers.len()
        ));
    };
    if chosen == ChallengeType::Dns01 {
        return Err(format!("the solver for {identifier} is by DNS-01, which this operator does not do"));
    }
    if solver.http01.as_ref().is_some_and(|http01| http01.ingress.is_none()) {
        return Err(format!(
            "the solver for {identifier} is by gatewayHTTPRoute, which this operator does not do yet"
        ));
    }
    let position = offered.iter().position(|challenge| type_of(&challenge.type_) == Some(chosen));
    Ok(Wanted {
        authorization: authorization.clone(),
        offered: position.unwrap_or_default(),
        type_: chosen,
        solver: solver.clone(),
    })
}

/// The type of a challenge as the server calls it.
fn type_of(name: &str) -> Option<ChallengeType> {
    match name {
        "http-01" => Some(ChallengeType::Http01),
        "dns-01" => Some(ChallengeType::Dns01),
        _ => None,
    }
}

/// Whether a Challenge is one that its Order asks for, with a solver that the issuer has: one that somebody made by hand must
/// not be acted upon (GHSA-8rvj-mm4h-c258).
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
    let solvers = acme.solvers.iter().flatten();
    offered
        && order.spec.issuer_ref.identity() == challenge.spec.issuer_ref.identity()
        && solvers
            .map(|solver| objects::challenge::overridden(solver, order))
            .any(|it| it == challenge.spec.solver)
}

#[cfg(test)]
mod tests {
    use crds::{
        acme::{ChallengeStatus, OfferedChallenge},
        fixtures,
    };

    use super::*;

    fn authorization(name: &str, state: State) -> Authorization {
        Authorization {
            challenges: Some(
                ["tls-alpn-01", "http-01"]
                    .iter()
                    .map(|type_| OfferedChallenge {
                        token: format!("{name}-token"),
                        type_: (*type_).to_owned(),
                        url: format!("https://ca/{type_}/{name}"),
                    })
                    .collect(),
            ),
            identifier: Some(name.to_owned()),
            initial_state: Some(state),
            url: format!("https://ca/authz/{name}"),
            wildcard: None,
        }
    }

    struct World {
        order: Order,
        acme: AcmeIssuer,
        challenges: Vec<Arc<Challenge>>,
        finalized: bool,
    }

    impl World {
        fn new(authorizations: Vec<Authorization>) -> Self {
            let status = OrderStatus {
                url: Some("https://ca/order".into()),
                finalize_url: Some("https://ca/finalize".into()),
                authorizations: Some(authorizations),
                state: Some(State::Pending),
                ..OrderStatus::default()
            };
            Self {
                order: fixtures::order("web", |it| {
                    it.metadata.namespace = Some("a".into());
                    it.metadata.uid = Some("1".into());
                    it.status = Some(status);
                }),
                acme: fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer"),
                challenges: Vec::new(),
                finalized: false,
            }
        }

        fn step(&self) -> Step {
            decide(&View {
                order: &self.order,
                status: self.order.status.as_ref().expect("a status"),
                acme: &self.acme,
                challenges: &self.challenges,
                finalized: self.finalized,
            })
        }

        /// Does what the step says about Challenges.
        fn make(&mut self) {
            let Step::Challenge { create, delete } = self.step() else { panic!("{:?}", self.step()) };
            self.challenges.retain(|challenge| !delete.contains(&challenge.name_any()));
            for Wanted { authorization, offered, type_, solver } in create {
                let offered = authorization.challenges.as_ref().expect("challenges")[offered].clone();
                let key = format!("{}.thumbprint", offered.token);
                let made =
                    objects::challenge::build(&self.order, &authorization, &offered, type_, &solver, key);
                self.challenges.push(Arc::new(made));
            }
        }

        fn become_(&mut self, index: usize, state: State, reason: Option<&str>) {
            let mut changed = (*self.challenges[index]).clone();
            changed.status = Some(ChallengeStatus {
                state: Some(state),
                reason: reason.map(ToOwned::to_owned),
                ..ChallengeStatus::default()
            });
            self.challenges[index] = Arc::new(changed);
        }
    }

    #[test]
    fn authorizations_of_which_the_url_alone_is_known_are_read() {
        let url_alone =
            |name| Authorization { url: authorization(name, State::Pending).url, ..Authorization::default() };
        for authorizations in [
            vec![],
            vec![url_alone("a.example.test")],
            vec![authorization("a.example.test", State::Pending), url_alone("b.example.test")],
        ] {
            assert!(matches!(World::new(authorizations).step(), Step::ReadAuthorizations));
        }
    }

    #[test]
    fn an_order_renews_that_replaces_something_or_is_not_the_first() {
        let order = |revision: &str, replaces: Option<&str>| {
            fixtures::order("web", |it| {
                it.annotations_mut().insert(CERTIFICATE_REVISION.to_owned(), revision.to_owned());
                it.spec.replaces = replaces.map(ToOwned::to_owned);
            })
        };
        assert!(!renews(&fixtures::order("web", |_| {})));
        assert!(!renews(&order("1", None)) && !renews(&order("two", None)));
        assert!(renews(&order("2", None)) && renews(&order("1", Some("aki.serial"))));
    }

    #[test]
    fn an_order_that_waits_for_its_turn_says_until_when() {
        let turn = "2026-01-01T00:00:36.5Z".parse().expect("a time");
        assert_eq!(
            waits_for_turn(Some(300), turn),
            "waits for its turn: the CA allows 300 new orders in 3 hours; the next attempt is at 2026-01-01T00:00:36Z"
        );
    }

    #[test]
    fn what_is_valid_already_needs_no_challenge() {
        let mut world =
            World::new(vec![authorization("a", State::Valid), authorization("b", State::Pending)]);
        world.make();
        assert_eq!(world.challenges.len(), 1);
        assert_eq!(world.challenges[0].spec.url, "https://ca/http-01/b");
        world.become_(0, State::Valid, None);
        assert_eq!(world.step(), Step::Finalize);
        assert_eq!(World::new(vec![authorization("a", State::Valid)]).step(), Step::Finalize);
    }

    #[test]
    fn the_first_reason_of_a_challenge_that_waits_is_told() {
        let mut world =
            World::new(vec![authorization("a", State::Pending), authorization("b", State::Pending)]);
        world.make();
        assert_eq!(world.step(), Step::Wait { reason: None });
        world.become_(1, State::Pending, Some("no route"));
        assert_eq!(world.step(), Step::Wait { reason: Some("b: no route".into()) });
        world.become_(0, State::Invalid, Some("DNS problem"));
        assert_eq!(world.step(), Step::Fail { state: State::Invalid, reason: "a: DNS problem".into() });
    }

    #[test]
    fn a_challenge_that_belongs_to_nothing_goes() {
        let mut world = World::new(vec![authorization("a", State::Pending)]);
        world.make();
        world.challenges.push(Arc::new(fixtures::challenge("stranger", |_| {})));
        assert_eq!(world.step(), Step::Challenge { create: vec![], delete: vec!["stranger".into()] });
    }

    #[test]
    fn a_wildcard_without_a_solver_fails_in_words() {
        let mut star = authorization("a", State::Pending);
        star.wildcard = Some(true);
        let Step::Fail { state: State::Errored, reason } = World::new(vec![star]).step() else {
            panic!("it goes on")
        };
        assert!(reason.contains("*.a") && reason.contains("DNS-01"), "{reason}");
    }

    #[test]
    fn a_solver_of_a_kind_that_is_not_served_fails_in_words() {
        let mut world = World::new(vec![authorization("a", State::Pending)]);
        let http01 = crds::acme::Http01Solver {
            gateway_http_route: Some(crds::acme::GatewaySolver::default()),
            ingress: None,
        };
        world.acme.solvers =
            Some(vec![crds::acme::Solver { http01: Some(http01), ..crds::acme::Solver::default() }]);
        let Step::Fail { reason, .. } = world.step() else { panic!("it goes on") };
        assert!(reason.contains("gatewayHTTPRoute"), "{reason}");
    }

    #[test]
    fn only_challenges_that_the_order_asks_for_count() {
        let mut world = World::new(vec![authorization("a", State::Pending)]);
        world.make();
        let good = (*world.challenges[0]).clone();
        assert!(asks_for(&world.order, &world.acme, &good));
        let changes: [fn(&mut Challenge); 4] = [
            |it| it.spec.url = "https://elsewhere/".into(),
            |it| it.spec.dns_name = "b".into(),
            |it| it.spec.solver = fixtures::ingress_solver("other"),
            |it| it.spec.issuer_ref.name = "other".into(),
        ];
        for change in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(!asks_for(&world.order, &world.acme, &bad), "{bad:?}");
        }
    }

    #[test]
    fn an_order_at_its_end_leaves_no_challenge() {
        let mut world = World::new(vec![authorization("a", State::Pending)]);
        world.make();
        world.order.status.as_mut().expect("a status").state = Some(State::Valid);
        assert_eq!(world.step(), Step::CleanUp(vec![world.challenges[0].name_any()]));
    }
}
