//! Orders with a thousand names, at issuers with as many selectors as they may have.

use std::sync::Arc;

use crds::{
    acme::{AcmeIssuer, Authorization, OfferedChallenge, Order, OrderStatus, Selector, Solver, State},
    fixtures,
};
use jiff::Timestamp;
use operator::decision::{issuer, order};
use proptest::{prelude::*, sample::select};

use super::{measured, runner};

/// How the names of Orders end, so that they have many zones.
const DEEP: &str = "a.b.c.d.e.f.g.h.i.j.k.test";

/// Solvers whose selectors have long lists, as many as an issuer may have. The names match only the last one.
pub(super) fn solvers() -> impl Strategy<Value = Vec<Solver>> {
    let selector = |zones: bool, number: usize, entries: usize| {
        let list = (0..entries).map(|entry| format!("a-zone-of-{entry}-{number}.{DEEP}")).collect();
        if zones {
            Selector { dns_zones: Some(list), ..Selector::default() }
        } else {
            Selector { dns_names: Some(list), ..Selector::default() }
        }
    };
    (select(vec![1_usize, 4, 300, 1000]), any::<bool>()).prop_map(move |(count, zones)| {
        let solver = fixtures::ingress_solver("nginx");
        let frame = serde_json::to_vec(&solver).expect("JSON").len() + 60;
        let room = (issuer::MAX_SOLVERS_BYTES / count).min(issuer::MAX_SOLVER_BYTES);
        let entries = (room.saturating_sub(frame) / 50).max(1);
        let selective = (1..count)
            .map(|number| Solver { selector: Some(selector(zones, number, entries)), ..solver.clone() });
        selective.chain([solver.clone()]).collect()
    })
}

pub(super) fn acme(solvers: &[Solver]) -> AcmeIssuer {
    let issuer = fixtures::issuer("issuer", |_| {});
    AcmeIssuer { solvers: Some(solvers.to_vec()), ..issuer.spec.acme.expect("an ACME issuer") }
}

/// An Order with a thousand names that has been placed.
pub(super) fn placed() -> Order {
    let authorization = |number: usize| Authorization {
        challenges: Some(vec![OfferedChallenge {
            type_: "http-01".into(),
            token: "x".repeat(128),
            url: format!("https://ca.example.test/challenge/{number}"),
        }]),
        identifier: Some(format!("{number}.{DEEP}")),
        initial_state: Some(State::Pending),
        url: format!("https://ca.example.test/{number}"),
        wildcard: None,
    };
    fixtures::order("web-1", |it| {
        it.status = Some(OrderStatus {
            authorizations: Some((0..1000).map(authorization).collect()),
            finalize_url: Some("https://ca.example.test/finalize".into()),
            state: Some(State::Pending),
            url: Some("https://ca.example.test/order".into()),
            ..OrderStatus::default()
        });
    })
}

/// Before and after an Order has its Challenges, and once it may be finalized.
pub(crate) fn orders_cost_little() {
    let order = placed();
    let status = order.status.clone().unwrap_or_default();
    let checked = runner().run(&solvers(), |solvers| {
        let acme = acme(&solvers);
        let challenge = |number: usize, state: Option<State>| {
            let challenge = fixtures::challenge(&format!("web-1-{number}"), |it| {
                it.spec.authorization_url = format!("https://ca.example.test/{number}");
                it.spec.solver = solvers[solvers.len() - 1].clone().into();
                it.status = state.map(|state| crds::acme::ChallengeStatus {
                    state: Some(state),
                    reason: Some("x".repeat(32_000)),
                    ..crds::acme::ChallengeStatus::default()
                });
            });
            Arc::new(challenge)
        };
        let of_state = |state: Option<State>| (0..1000).map(|number| challenge(number, state)).collect();
        for challenges in [Vec::new(), of_state(None), of_state(Some(State::Valid))] {
            let view = order::View {
                order: &order,
                status: &status,
                progress: &order::OrderProgress::default(),
                renewal: order::Renewal::Nothing,
                created_here: true,
                issuer: order::IssuerView { acme: &acme, has_account: true, new_orders: None },
                challenges: &challenges,
                submitted: &[],
                left_behind: &[],
                deleted: &[],
                now: Timestamp::UNIX_EPOCH,
            };
            measured("an Order", || order::decide(&view))?;
        }
        Ok(())
    });
    checked.expect("it costs little");
}
