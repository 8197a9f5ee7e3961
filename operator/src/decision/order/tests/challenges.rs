//! The Challenges of an Order.

use crds::{
    Preserved,
    acme::{GatewaySolver, Http01Solver, Selector, Solver},
};

use super::*;

#[test]
fn valid_authorization_needs_no_challenge() {
    let mut fixture =
        Fixture::placed(vec![authorization("a", State::Valid), authorization("b", State::Pending)]);
    fixture.create_challenges();
    assert_eq!(fixture.challenges.len(), 1);
    assert_eq!(fixture.challenges[0].spec.url, "https://ca/http-01/b");
    fixture.set_challenge(0, State::Valid, None);
    assert!(matches!(fixture.request(), Request::Finalize { .. }));
    assert!(matches!(Fixture::proven().request(), Request::Finalize { .. }));
}

#[test]
fn first_challenge_with_a_reason_is_reported() {
    let mut fixture =
        Fixture::placed(vec![authorization("a", State::Pending), authorization("b", State::Pending)]);
    fixture.create_challenges();
    assert_eq!(fixture.decide().status.reason, None);
    fixture.set_challenge(1, State::Pending, Some("no route"));
    assert_eq!(fixture.decide().status.reason.as_deref(), Some("b: no route"));
    fixture.set_challenge(0, State::Invalid, Some("DNS problem"));
    assert_eq!(failure(fixture.decide()), (State::Invalid, "a: DNS problem".into()));
}

#[test]
fn stray_challenge_is_deleted() {
    let mut fixture = Fixture::pending();
    fixture.challenges.push(Arc::new(fixtures::challenge("stray", |_| {})));
    assert_eq!(actions(fixture.decide()), [Action::DeleteChallenges(vec!["stray".into()])]);
}

/// A server may know from before that the account controls a name, so a name without a solver is ordered nevertheless.
#[test]
fn valid_wildcard_needs_no_solver() {
    let mut star = authorization("a", State::Valid);
    star.wildcard = Some(true);
    let mut fixture = Fixture::placed(vec![star]);
    fixture.acme.solvers = None;
    assert!(matches!(fixture.request(), Request::Finalize { .. }));
}

#[test]
fn wildcard_waits_for_a_dns01_solver() {
    let mut star = authorization("a", State::Pending);
    star.wildcard = Some(true);
    let decision = Fixture::placed(vec![star]).decide();
    let reason = decision.status.reason.clone().unwrap_or_default();
    assert!(reason.contains("*.a") && reason.contains("DNS-01"), "{reason}");
    assert_eq!(actions(decision), [Action::WriteStatus]);
}

#[test]
fn order_waits_for_a_supported_solver() {
    let mut fixture = Fixture::placed(vec![authorization("a", State::Pending)]);
    let http01 = Http01Solver { gateway_http_route: Some(GatewaySolver::default()), ingress: None };
    fixture.acme.solvers = Some(vec![Solver { http01: Some(http01), ..Solver::default() }]);
    let decision = fixture.decide();
    assert!(decision.status.reason.is_some_and(|reason| reason.contains("gatewayHTTPRoute")));
    fixture.acme.solvers = Some(vec![fixtures::ingress_solver("nginx")]);
    assert!(matches!(fixture.request(), Request::KeyAuthorizations(_)), "the issuer was corrected");
}

/// The CA counts each order.
#[test]
fn order_is_not_placed_for_a_dns01_solver() {
    let dns01 = |zones: Option<&str>| Solver {
        dns01: Some(Preserved::default()),
        selector: zones.map(|zone| Selector { dns_zones: Some(vec![zone.into()]), ..Selector::default() }),
        ..Solver::default()
    };
    let mut fixture = Fixture::unplaced();
    let name = fixture.order.spec.dns_names.clone().unwrap_or_default()[0].clone();
    for solvers in [vec![dns01(None)], vec![fixtures::ingress_solver("nginx"), dns01(Some(&name))]] {
        fixture.acme.solvers = Some(solvers);
        let decision = fixture.decide();
        let expected = format!("the solver for {name} uses DNS-01, which this operator does not support. ");
        let reason = decision.status.reason.clone().unwrap_or_default();
        assert!(reason.starts_with(&expected), "{reason}");
        assert_eq!(actions(decision), [Action::WriteStatus]);
    }
    for solvers in [vec![fixtures::ingress_solver("nginx"), dns01(Some("other.test"))], Vec::new()] {
        fixture.acme.solvers = Some(solvers);
        assert!(matches!(fixture.request(), Request::Slot { .. }), "the order can be completed");
    }
}

/// Each has a copy of its solver, which may be long.
#[test]
fn challenges_are_created_in_parts() {
    let pending = |number: usize| authorization(&format!("n{number}"), State::Pending);
    let mut fixture = Fixture::placed((0..150).map(pending).collect());
    for expected in [100, 50] {
        let Request::KeyAuthorizations(plans) = fixture.request() else { panic!("none is created") };
        assert_eq!(plans.len(), expected);
        fixture.create_challenges();
    }
    assert_eq!(fixture.challenges.len(), 150);
}

/// The user corrects the issuer while a Challenge with its earlier solver waits.
#[test]
fn challenge_with_an_earlier_solver_is_replaced() {
    let mut fixture = Fixture::pending();
    fixture.acme.solvers = Some(vec![fixtures::ingress_solver("other")]);
    let name = fixture.challenges[0].name_any();
    assert_eq!(actions(fixture.decide()), [Action::DeleteChallenges(vec![name])]);
    fixture.set_challenge(0, State::Valid, None);
    assert!(matches!(fixture.request(), Request::Finalize { .. }), "a valid one counts");
}

/// GHSA-8rvj-mm4h-c258.
#[test]
fn only_requested_challenges_count() {
    let fixture = Fixture::pending();
    let good = (*fixture.challenges[0]).clone();
    assert!(asks_for(&fixture.order, &fixture.acme, &good));
    let changes: [fn(&mut Challenge); 4] = [
        |it| it.spec.url = "https://elsewhere/".into(),
        |it| it.spec.dns_name = "b".into(),
        |it| it.spec.solver = fixtures::ingress_solver("other").into(),
        |it| it.spec.issuer_ref.name = "other".into(),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(!asks_for(&fixture.order, &fixture.acme, &bad), "{bad:?}");
    }
}

#[test]
fn final_order_deletes_its_challenges() {
    let mut fixture = Fixture::pending();
    fixture.order.status.as_mut().expect("a status").state = Some(State::Valid);
    fixture.progress.failures = 3;
    let decision = fixture.decide();
    assert_eq!(decision.progress, OrderProgress::default());
    let name = fixture.challenges[0].name_any();
    assert_eq!(actions(decision), [Action::DeleteChallenges(vec![name.clone()])]);
    let decision = fixture.with_view(|view| decide(&View { deleted: &[name], ..*view }));
    assert_eq!(wait(&decision), EXPECTATION_TTL);
    assert_eq!(actions(decision), []);
}
