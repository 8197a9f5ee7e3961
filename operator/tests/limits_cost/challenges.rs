//! Challenges whose solvers, texts, and routes are as long as they may be, Ingresses of users that get their paths, and the endpoints of
//! the solver.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crds::{
    acme::{
        Challenge, ChallengeStatus, Http01Solver, IngressSolver, IngressTemplate, Solver, State,
        TemplateMetadata,
    },
    fixtures,
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::{Endpoint, EndpointSlice},
        networking::v1::Ingress,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use operator::{
    acme::{AcmeError, AuthorizationState},
    decision::{
        challenge::{self, ChallengeProgress, Next, Phase, Presentation, Probe, ProbeResult},
        issuer, order, route_service,
    },
    objects::route::{self, PathType},
};
use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::{LARGEST_OBJECT, measured, orders, runner, time};

/// The longest text that a status of the operator may have, bytes.
const LONGEST_REASON: usize = 4096;

/// A solver with a template of a size.
fn solver(bytes: usize) -> Solver {
    let entries = |bytes: usize| {
        let entry = |number: usize| (format!("example.test/{number}"), "x".repeat(60));
        Some((0..bytes / 90).map(entry).collect::<BTreeMap<_, _>>())
    };
    let metadata = TemplateMetadata { annotations: entries(bytes / 2), labels: entries(bytes / 2) };
    let template = IngressTemplate { metadata: Some(metadata) };
    let ingress = IngressSolver { ingress_template: Some(template), ..IngressSolver::default() };
    let http01 = Http01Solver { ingress: Some(ingress), ..Http01Solver::default() };
    Solver { http01: Some(http01), ..Solver::default() }
}

fn challenge() -> impl Strategy<Value = Challenge> {
    let solver_bytes = select(vec![0, issuer::MAX_SOLVER_BYTES, LARGEST_OBJECT]);
    let wait = select(vec![None, Some("0s"), Some("2562047h")]);
    let texts = select(vec![0_usize, 1000, 200_000]);
    let state = select(vec![None, Some(State::Pending), Some(State::Valid)]);
    (solver_bytes, wait, texts, state, time(), time(), any::<bool>()).prop_map(
        |(bytes, wait, text, state, created, presented_at, is_deleted)| {
            fixtures::challenge("web-1-1", |it| {
                let order = orders::placed();
                let number = 999;
                let authorization = &order.status.as_ref().and_then(|it| it.authorizations.as_ref());
                let authorization = &authorization.expect("authorizations")[number];
                it.spec.authorization_url.clone_from(&authorization.url);
                it.spec.dns_name = authorization.identifier.clone().expect("an identifier");
                let offered = &authorization.challenges.as_ref().expect("challenges")[0];
                (it.spec.url, it.spec.token) = (offered.url.clone(), offered.token.clone());
                it.spec.key = "x".repeat(text);
                it.spec.solver = solver(bytes).into();
                Arc::make_mut(&mut it.spec.solver).wait_instead_of_self_check =
                    wait.map(|wait| wait.parse().expect("a duration"));
                it.metadata.creation_timestamp = created.map(Time);
                it.metadata.deletion_timestamp = created.filter(|_| is_deleted).map(Time);
                it.metadata.finalizers = Some(vec!["example.test/finalizer".to_owned(); text / 30]);
                it.metadata.uid = Some("1".to_owned());
                it.status = state.map(|state| ChallengeStatus {
                    state: Some(state),
                    reason: Some("x".repeat(text)),
                    presented_at: presented_at.map(Time),
                    ..ChallengeStatus::default()
                });
            })
        },
    )
}

/// An authorization with as long texts as fit into a response.
fn authorization(status: &str, url: &str) -> AuthorizationState {
    let failed = json!({
        "type": "http-01", "status": "invalid", "url": url, "token": "x",
        "error": { "type": "x".repeat(300_000), "detail": "x y\n".repeat(200_000) },
    });
    serde_json::from_value(json!({
        "identifier": { "type": "dns", "value": "x".repeat(100_000) },
        "status": status,
        "challenges": vec![failed; 1],
    }))
    .expect("an authorization")
}

fn problem(status: u16, retry_after: Option<u64>) -> AcmeError {
    let subproblem = json!({ "type": "x".repeat(100), "detail": "x".repeat(1000) });
    let document = json!({
        "type": format!("urn:ietf:params:acme:error:{}", "x".repeat(100_000)),
        "detail": "x y\n".repeat(100_000),
        "subproblems": vec![subproblem; 400],
    });
    AcmeError::Problem {
        problem: serde_json::from_value(document).expect("a problem"),
        status: status.try_into().expect("a status"),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

pub(crate) fn challenges_cost_little() {
    let order = orders::placed();
    let phase = select(vec![Phase::Presenting, Phase::Reachable, Phase::Accepted, Phase::Valid]);
    let checked = runner().run(
        &(challenge(), orders::solvers(), phase, time()),
        |(challenge, solvers, phase, next)| {
            let acme = orders::acme(
                &[&solvers[..solvers.len() - 1], std::slice::from_ref(&*challenge.spec.solver)].concat(),
            );
            let now = "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time");
            let progress = ChallengeProgress {
                phase,
                probes: u32::MAX,
                polls: u32::MAX,
                failures: u32::MAX,
                restarts: u32::MAX,
                presented_since: next,
                unreachable_since: next,
                wrong_since: next,
                next_attempt: next.unwrap_or(now),
                ..ChallengeProgress::new(&challenge, now)
            };
            let text = || "x y\n".repeat(250);
            let responses =
                ["pending", "valid", "invalid", "expired"].map(|it| authorization(it, &challenge.spec.url));
            let problems = [problem(429, Some(u64::MAX)), problem(503, None), problem(403, None)];
            let http01 = challenge.spec.solver.http01.as_ref().expect("HTTP-01");
            let solver = http01.ingress.as_ref().expect("an Ingress solver");
            let existing = route::ingress(
                &challenge,
                &self::solver(LARGEST_OBJECT).http01.expect("it").ingress.expect("it"),
                &BTreeMap::new(),
            );
            measured("a Challenge", || {
                let requested = order::asks_for(&order, &acme, &challenge);
                assert!(requested, "it is the Order's");
                let view = challenge::View {
                    challenge: &challenge,
                    requested,
                    acceptance: challenge::Acceptance::Accepted,
                    progress,
                    now,
                };
                let mut decisions = vec![challenge::decide(&view)];
                route::refused_annotation(solver);
                let desired = route::ingress(&challenge, solver, &BTreeMap::new());
                challenge::route_write(Some(&existing), &desired, true);
                decisions.extend([
                    challenge::on_presented(&view, Presentation::Blocked(text())),
                    challenge::on_presented(&view, Presentation::Written),
                    challenge::on_probe(&view, Probe::Solver, &ProbeResult::WrongAnswer(text())),
                    challenge::on_probe(&view, Probe::Route, &ProbeResult::Unreachable(text())),
                ]);
                decisions.extend(responses.into_iter().map(|it| challenge::on_authorization(&view, Ok(it))));
                decisions.extend(problems.into_iter().map(|it| challenge::on_submitted(&view, Err(it))));
                for decision in decisions {
                    let reason = decision.status.and_then(|it| it.reason).unwrap_or_default();
                    let was = challenge.status.as_ref().and_then(|it| it.reason.as_ref());
                    assert!(reason.len() <= LONGEST_REASON || Some(&reason) == was, "{} bytes", reason.len());
                    if let Next::Requeue(requeue) = decision.next {
                        let wait = requeue.wait(Duration::from_hours(1), "1");
                        assert!(wait.is_none_or(|wait| wait <= Duration::from_hours(2)), "{wait:?}");
                    }
                }
            })
        },
    );
    checked.expect("it costs little");
}

/// An Ingress of a user with as many rules and paths as fit into an object.
fn users_ingress() -> impl Strategy<Value = Ingress> {
    (select(vec![1_usize, 100, 10_000]), select(vec![0_usize, 1, 100, 10_000])).prop_map(|(rules, paths)| {
        let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
        let path =
            |number: usize| json!({ "path": format!("/{number}"), "pathType": "Prefix", "backend": backend });
        let paths = paths.min(LARGEST_OBJECT / rules / 100);
        let paths: Vec<_> = (0..paths).map(path).collect();
        let rules = rules.min(LARGEST_OBJECT / 30);
        let rule =
            |number: usize| json!({ "host": format!("h{number}.example.test"), "http": { "paths": paths } });
        let rules: Vec<_> = (0..rules).map(rule).collect();
        serde_json::from_value(json!({ "metadata": { "name": "web" }, "spec": { "rules": rules } }))
            .expect("an Ingress")
    })
}

pub(crate) fn routes_cost_little() {
    let checked = runner().run(&(users_ingress(), any::<bool>()), |(ingress, has_rule)| {
        let challenge = fixtures::challenge("web", |it| {
            let name = if has_rule { "h0.example.test" } else { "other.example.test" };
            name.clone_into(&mut it.spec.dns_name);
        });
        let add = measured("an Ingress without the path", || {
            route::patch_to_add(&ingress, &challenge, PathType::Relaxed)
        })?;
        let mut patched = json!(ingress);
        json_patch::patch(&mut patched, &add.expect("a patch")).expect("it fits");
        let patched: Ingress = serde_json::from_value(patched).expect("an Ingress");
        measured("an Ingress with the path", || route::patch_to_remove(&patched, &challenge)).map(drop)
    });
    checked.expect("it costs little");
    let endpoint = Endpoint { addresses: vec!["192.0.2.1".to_owned(); 100], ..Endpoint::default() };
    let mut slice = EndpointSlice { endpoints: vec![endpoint; 1000], ..EndpointSlice::default() };
    slice.metadata.name = Some("http01-solver-abc".to_owned());
    let mut service = Service::default();
    (service.metadata.uid, service.metadata.creation_timestamp) =
        (Some("1".into()), Some(Time(Timestamp::MIN)));
    service.metadata.annotations = Some([("x".repeat(200), "x".repeat(LARGEST_OBJECT))].into());
    let decided = measured("a Service", || {
        route_service::decide(&service, None, true, Some(Timestamp::MAX), Timestamp::MIN);
        let desired = route::endpoint_slices(&service, &[slice.clone()], &BTreeMap::new());
        let emptied = route::emptied_endpoint_slice(&service, &desired[0], &BTreeMap::new());
        challenge::must_write_slice(&desired[0], Some(&slice), Some(&slice));
        challenge::must_empty_slice(&slice, &service, &desired) && emptied.endpoints.is_empty()
    });
    decided.expect("it costs little");
}
