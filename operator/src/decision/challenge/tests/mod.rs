//! Challenges, one decision at a time. Next: `model.rs`, where decisions and their effects run against each other.

mod ca;
mod ingresses;
mod model;
mod world;

use std::sync::Arc;

use crds::{acme::State, annotations::challenge::FINALIZER, duration::GoDuration, fixtures};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::{acme::AuthorizationState, decision::testing::Failure};

const START: Timestamp = Timestamp::UNIX_EPOCH;

fn view(challenge: &Challenge, change: impl FnOnce(&mut ChallengeProgress)) -> View<'_> {
    let mut progress = ChallengeProgress::new(challenge, START);
    change(&mut progress);
    View { challenge, requested: true, acceptance: Acceptance::Unknown, progress, now: START }
}

fn action(decision: &Decision) -> Option<Action> {
    match decision.next {
        Next::Act(action) => Some(action),
        Next::Requeue(_) | Next::Retry { .. } => None,
    }
}

#[test]
fn each_phase_has_its_first_action() {
    let challenge = fixtures::challenge("web", |_| {});
    for (phase, expected) in [
        (Phase::Presenting, Some(Action::Present { create_route: true })),
        (Phase::Reachable, Some(Action::Present { create_route: true })),
        (Phase::Accepted, Some(Action::FetchAuthorization)),
        (Phase::Valid, None),
    ] {
        let decision = decide(&view(&challenge, |it| it.phase = phase));
        assert_eq!(action(&decision), expected, "{phase:?}");
    }
}

#[test]
fn missing_route_is_created_at_every_eighth_probe() {
    let challenge = fixtures::challenge("web", |_| {});
    let created: Vec<_> = (0..20)
        .filter(|probes| {
            let decision = decide(&view(&challenge, |it| it.probes = *probes));
            action(&decision) == Some(Action::Present { create_route: true })
        })
        .collect();
    assert_eq!(created, [0, 8, 16]);
}

/// The watch event of its own status must not make a Challenge repeat a request.
#[test]
fn early_events_repeat_nothing() {
    let challenge = fixtures::challenge("web", |_| {});
    let soon = START + Duration::from_secs(3);
    for phase in [Phase::Presenting, Phase::Reachable, Phase::Accepted] {
        let early = view(&challenge, |it| (it.phase, it.next_attempt) = (phase, soon));
        let decision = decide(&early);
        let Next::Requeue(Requeue::After(wait)) = decision.next else { panic!("{decision:?}") };
        assert_eq!(wait, Duration::from_secs(3));
        assert_eq!(decision.progress, Some(early.progress));
    }
}

#[test]
fn solver_pods_are_probed_until_they_answer() {
    let challenge = fixtures::challenge("web", |_| {});
    let presented = |phase| on_presented(&view(&challenge, |it| it.phase = phase), Presentation::InPlace);
    assert_eq!(action(&presented(Phase::Presenting)), Some(Action::Probe(Probe::Solver)));
    assert_eq!(action(&presented(Phase::Reachable)), Some(Action::Probe(Probe::Route)));
    let decision = on_probe(&view(&challenge, |_| {}), Probe::Solver, &ProbeResult::Reachable);
    assert_eq!(action(&decision), Some(Action::Probe(Probe::Route)));
    assert_eq!(decision.progress.map(|progress| progress.phase), Some(Phase::Reachable));
}

#[test]
fn wait_in_place_of_probes_counts_from_presented_at() {
    let mut challenge = fixtures::challenge("web", |it| {
        Arc::make_mut(&mut it.spec.solver).wait_instead_of_self_check = Some(GoDuration::from_secs(30));
    });
    let at = |challenge: &Challenge, now| {
        on_presented(&View { now, ..view(challenge, |_| {}) }, Presentation::InPlace)
    };
    let first = at(&challenge, START + Duration::from_secs(10));
    let status = first.status.expect("a status");
    assert_eq!(status.presented_at, Some(Time(START + Duration::from_secs(10))));
    assert_eq!(
        status.reason.as_deref(),
        Some("Waiting until 1970-01-01T00:00:40Z because the solver has waitInsteadOfSelfCheck")
    );
    challenge.status = Some(status);
    assert_eq!(action(&at(&challenge, START + Duration::from_secs(39))), None);
    assert_eq!(action(&at(&challenge, START + Duration::from_secs(40))), Some(Action::Submit));
}

#[test]
fn wait_in_place_of_probes_starts_again_with_a_lost_route() {
    let challenge = fixtures::challenge("web", |it| {
        Arc::make_mut(&mut it.spec.solver).wait_instead_of_self_check = Some(GoDuration::from_secs(30));
        let presented_at = Some(Time(START));
        it.status = Some(ChallengeStatus { presented_at, ..ChallengeStatus::default() });
    });
    let after_the_wait = View { now: START + Duration::from_secs(30), ..view(&challenge, |_| {}) };
    let decision = on_presented(&after_the_wait, Presentation::Written);
    assert_eq!(action(&decision), None);
    let status = decision.status.expect("a status");
    assert_eq!(status.presented_at, Some(Time(START + Duration::from_secs(30))));
    let reason = status.reason.expect("a reason");
    assert!(reason.starts_with("Waiting until 1970-01-01T00:01:00Z"), "{reason}");
    assert!(reason.contains("deleted or changed the route"), "{reason}");
    assert_eq!(action(&on_presented(&after_the_wait, Presentation::InPlace)), Some(Action::Submit));
}

/// Something takes the route away each time, or changes it.
#[test]
fn wait_in_place_of_probes_ends() {
    let mut challenge = fixtures::challenge("web", |it| {
        Arc::make_mut(&mut it.spec.solver).wait_instead_of_self_check = Some(GoDuration::from_secs(30));
    });
    let mut seen = View { now: START, ..view(&challenge, |_| {}) }.progress;
    let mut now = START;
    for waits in 1.. {
        let decision =
            on_presented(&View { now, ..view(&challenge, |it| *it = seen) }, Presentation::Written);
        if action(&decision) == Some(Action::Submit) {
            assert_eq!(waits, 4, "the first wait, and two more");
            break;
        }
        seen = decision.progress.expect("a progress");
        challenge.status = decision.status;
        now += Duration::from_secs(30);
    }
}

#[test]
fn blocked_challenges_are_never_submitted() {
    let challenge = fixtures::challenge("web", |it| {
        Arc::make_mut(&mut it.spec.solver).wait_instead_of_self_check = Some(GoDuration::from_secs(0));
    });
    let late = View { now: START + Duration::from_hours(1), ..view(&challenge, |_| {}) };
    let decision = on_presented(&late, Presentation::Blocked("no Ingress".into()));
    assert_eq!(action(&decision), None);
    let status = decision.status.expect("a status");
    assert_eq!(status.reason.as_deref(), Some("Waiting for HTTP-01 challenge propagation: no Ingress"));
    assert_eq!((status.presented, status.presented_at), (None, None));
}

#[test]
fn foreign_challenges_are_only_cleaned_up() {
    let challenge = fixtures::challenge("web", |_| {});
    let foreign = |challenge| action(&decide(&View { requested: false, ..view(challenge, |_| {}) }));
    assert_eq!(foreign(&challenge), None);
    let deleted = |finalizers: &[&str]| {
        fixtures::challenge("web", |it| {
            it.metadata.deletion_timestamp = Some(Time(START));
            it.metadata.finalizers = Some(finalizers.iter().map(|it| (*it).to_owned()).collect());
        })
    };
    let held = deleted(&[FINALIZER, "another's"]);
    assert_eq!(foreign(&held), Some(Action::CleanUp));
    assert_eq!(remaining_finalizers(&held), ["another's"]);
    assert_eq!(foreign(&deleted(&["another's"])), None);
}

fn authorization(challenge: &Challenge, status: &str, error: Option<&str>) -> AuthorizationState {
    let error = error.map(|kind| json!({ "type": kind, "detail": "status 404" }));
    serde_json::from_value(json!({
        "identifier": { "type": "dns", "value": "web.example.test" },
        "status": status,
        "challenges": [{
            "type": "http-01", "url": challenge.spec.url, "token": "a-token", "status": "pending", "error": error,
        }],
    }))
    .expect("an authorization")
}

#[test]
fn every_authorization_status_has_a_state() {
    let challenge = fixtures::challenge("web", |it| it.status = Some(ChallengeStatus::default()));
    let unauthorized = Some("urn:ietf:params:acme:error:unauthorized");
    for (status, error, state, reason) in [
        ("valid", None, State::Valid, "Successfully authorized domain"),
        ("invalid", unauthorized, State::Invalid, "status 404 (unauthorized)"),
        ("invalid", None, State::Invalid, "the authorization is invalid"),
        ("expired", None, State::Expired, "the authorization is expired"),
        ("revoked", None, State::Invalid, "the authorization is revoked"),
        ("deactivated", None, State::Invalid, "the authorization is deactivated"),
    ] {
        let response = Ok(authorization(&challenge, status, error));
        let decision = on_authorization(&view(&challenge, |it| it.phase = Phase::Accepted), response);
        assert_eq!(decision.event.is_some(), state != State::Valid, "{status}");
        assert_eq!(decision.progress, None, "{status}");
        let written = decision.status.expect("a status");
        assert_eq!((written.state, written.reason.as_deref()), (Some(state), Some(reason)));
        assert_eq!(written.processing, Some(false));
    }
}

/// A status that no one could read in time would be one more request for each challenge.
#[test]
fn quick_challenges_are_valid_without_a_status() {
    let challenge = fixtures::challenge("web", |_| {});
    let response = Ok(authorization(&challenge, "valid", None));
    let decision = on_authorization(&view(&challenge, |it| it.phase = Phase::Accepted), response);
    assert_eq!(decision.status, None);
    assert_eq!(decision.notify, Some(Notify::Order));
    assert_eq!(decision.progress.map(|progress| progress.phase), Some(Phase::Valid));
}

#[test]
fn pending_authorizations_are_polled() {
    let challenge = fixtures::challenge("web", |_| {});
    let polled = |retry_after, age| {
        let response = AuthorizationState { retry_after, ..authorization(&challenge, "pending", None) };
        let view = View { now: START + age, ..view(&challenge, |it| it.phase = Phase::Accepted) };
        let decision = on_authorization(&view, Ok(response));
        let Next::Requeue(Requeue::After(wait)) = decision.next else { panic!("{decision:?}") };
        (wait, decision.status.and_then(|status| status.reason))
    };
    assert_eq!(polled(None, Duration::ZERO), (Duration::from_millis(100), None));
    let (wait, reason) = polled(Some(Duration::from_secs(7)), REPORT_WAITING_AFTER);
    assert_eq!(wait, Duration::from_secs(7));
    assert_eq!(
        reason.as_deref(),
        Some("Waiting for the ACME server to validate the challenge; the next attempt is within a minute")
    );
    let (_, reason) = polled(Some(Duration::from_secs(90)), Duration::ZERO);
    assert!(reason.is_some_and(|it| it.ends_with("is at 1970-01-01T00:01:30Z")), "a long wait is reported");
}

#[test]
fn acme_errors_end_or_are_retried() {
    let challenge = fixtures::challenge("web", |_| {});
    let view = view(&challenge, |_| {});
    let state = |decision: Decision| decision.status.and_then(|status| status.state);
    let submitted = |failure: Failure| on_submitted(&view, Err(failure.error()));
    let fetched = |failure: Failure| on_authorization(&view, Err(failure.error()));
    let malformed = Failure::problem("malformed", 400);
    assert_eq!(state(submitted(malformed)), Some(State::Errored));
    assert_eq!(state(fetched(malformed)), Some(State::Expired));
    assert_eq!(state(fetched(Failure::problem("unauthorized", 403))), Some(State::Errored));
    // Something on the way has answered, and not an ACME server.
    let Next::Retry { .. } = fetched(Failure::Page { status: 403, retry_after: None }).next else {
        panic!("a page that is no ACME ends the Challenge")
    };
    assert_eq!(state(submitted(Failure::Unsupported)), Some(State::Errored));

    let limited = Failure::Page { status: 429, retry_after: Some(90) };
    for (failure, least, notify, reason) in [
        (
            Failure::problem("serverInternal", 500),
            0,
            None,
            "500 urn:ietf:params:acme:error:serverInternal: the detail; the next attempt is within 5 minutes",
        ),
        (limited, 90, None, "; the next attempt is at 1970-01-01T00:01:30Z"),
        (
            Failure::problem("accountDoesNotExist", 400),
            0,
            Some(Notify::Issuer),
            ":accountDoesNotExist: the detail; the next attempt is within 5 minutes",
        ),
    ] {
        for decision in [submitted(failure), fetched(failure)] {
            let Next::Retry { after, .. } = decision.next else { panic!("{decision:?}") };
            assert!(after >= Duration::from_secs(least) && !after.is_zero(), "{failure:?}: {after:?}");
            assert_eq!(decision.notify, notify, "{failure:?}");
            assert_eq!(decision.progress.map(|progress| progress.failures), Some(1), "{failure:?}");
            let reported = decision.status.and_then(|status| status.reason);
            assert!(reported.is_none_or(|reported| reported.ends_with(reason)), "{failure:?}");
        }
        assert!(submitted(failure).status.is_some(), "{failure:?} is not reported");
    }
    let soon = fetched(Failure::problem("serverInternal", 500));
    assert_eq!(soon.status, None, "a poll that is soon repeated needs no status");
    assert!(fetched(limited).status.is_some(), "a long wait is reported");
}

/// A change of a route's status must not cause a request to the CA, nor more than one early probe per second.
#[test]
fn route_status_brings_a_probe_forward_once_a_second() {
    let challenge = fixtures::challenge("web", |_| {});
    let start = Timestamp::UNIX_EPOCH;
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let waiting = ChallengeProgress { next_attempt: at(10.0), ..ChallengeProgress::new(&challenge, start) };
    let once = waiting.woken(at(1.0));
    assert_eq!(once.next_attempt, at(1.0));
    let again = ChallengeProgress { next_attempt: at(10.0), ..once }.woken(at(1.2));
    assert_eq!(again.next_attempt, at(2.0));
    let retrying = ChallengeProgress { failures: 1, ..waiting };
    assert_eq!(retrying.woken(at(1.0)), retrying, "the CA has said when to try again");
    assert_eq!(retrying.without_route().next_attempt, at(10.0));
    let accepted = ChallengeProgress { phase: Phase::Accepted, ..waiting };
    assert_eq!(accepted.woken(at(1.0)), accepted);
}
