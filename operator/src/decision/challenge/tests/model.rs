//! Challenges under every response, probe result, failure and crash: they end with a reason, or wait for their user.

use std::{ops::Range, time::Duration};

use crds::acme::State;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    ca::{CaCourse, Reply, Verdict},
    ingresses::RouteCourse,
    world::{Answer, Course, World},
};
use crate::{
    acme::AuthorizationStatus,
    decision::{
        Reaction,
        runner::write,
        testing::{Failure, failure, retry_after},
    },
};

/// The most requests, probes or status writes in an hour: one in 7.5 seconds (ten less the jitter), and quicker ones at first and
/// after each of three crashes.
const MOST_IN_AN_HOUR: usize = 640;

fn seconds(range: Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn any_failure() -> BoxedStrategy<Failure> {
    failure().boxed()
}

/// Immediately, or later: most challenges are valid before a status is written.
fn soon(range: Range<u64>) -> impl Strategy<Value = Duration> {
    prop_oneof![Just(Duration::ZERO), seconds(range)]
}

/// A failure after which the same request may succeed.
fn temporary() -> BoxedStrategy<Failure> {
    failure().prop_filter("it ends the challenge", |it| Reaction::to(&it.error()) != Reaction::Fail).boxed()
}

fn reply(failures: fn() -> BoxedStrategy<Failure>) -> impl Strategy<Value = Reply> {
    prop_oneof![
        4 => retry_after().prop_map(Reply::Done),
        1 => Just(Reply::Lost),
        2 => failures().prop_map(Reply::Fails),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    select(&[Answer::Right, Answer::Wrong, Answer::Unreachable][..])
}

fn verdict() -> impl Strategy<Value = Verdict> {
    use AuthorizationStatus::{Deactivated, Expired, Invalid, Revoked, Valid};
    let status = select(&[Deactivated, Expired, Invalid, Revoked, Valid][..]);
    prop_oneof![6 => Just(Verdict::ByAnswer), 2 => status.prop_map(Verdict::Status)]
}

/// A server that fails for a while: in every way, or only in ways that pass.
fn ca(failures: fn() -> BoxedStrategy<Failure>) -> impl Strategy<Value = CaCourse> {
    let outage = option::weighted(0.3, (seconds(0..300), seconds(0..7200), failures()));
    let replies = prop_oneof![Just(Vec::new()), vec(reply(failures), 0..12)];
    let validation = prop_oneof![Just(Duration::ZERO), seconds(0..60), seconds(0..7200)];
    let loses_account_after = option::weighted(0.2, 1_usize..6);
    let over = (option::weighted(0.2, answer()), seconds(600..10_800), any::<bool>());
    (replies, outage, validation, verdict(), over, loses_account_after).prop_map(
        |(replies, outage, validation, verdict, (sees, lifetime, forgets), loses_account_after)| CaCourse {
            replies,
            outage: outage.map(|(from, length, failure)| (from, from + length, failure)),
            validation,
            verdict,
            sees,
            lifetime,
            forgets,
            loses_account_after,
        },
    )
}

/// What the URL answers: it may be right from the start, never reachable, wrong, right after a while, or change again and again.
fn answers() -> impl Strategy<Value = Vec<(Duration, Answer)>> {
    let any = vec((seconds(0..600), answer()), 0..8).prop_map(|mut answers| {
        answers.sort_by_key(|(from, _)| *from);
        answers
    });
    prop_oneof![1 => Just(vec![(Duration::ZERO, Answer::Right)]), 2 => any]
}

fn course(failures: fn() -> BoxedStrategy<Failure>) -> impl Strategy<Value = Course> {
    let route = prop_oneof![
        7 => option::weighted(0.2, seconds(0..300)).prop_map(|deleted| RouteCourse::Own { deleted }),
        3 => option::weighted(0.7, seconds(0..300)).prop_map(|created| RouteCourse::Users { created }),
    ];
    let solver = (route, option::weighted(0.2, seconds(0..300)), soon(0..30), answers());
    let start = (soon(0..5), soon(0..60), seconds(0..60));
    let lag = prop_oneof![Just(Duration::ZERO), (0_u64..5000).prop_map(Duration::from_millis)];
    let api = (vec(write(), 0..6), vec(write(), 0..4), lag);
    (ca(failures), solver, start, api, vec(0_usize..10, 0..4)).prop_map(
        |(ca, solver, start, (writes, ingress_writes, lag), fuses)| {
            let (route, wait_instead_of_self_check, pods, answers) = solver;
            let (order_shown, issuer_ready, recovery) = start;
            Course {
                ca,
                route,
                wait_instead_of_self_check,
                pods,
                answers,
                order_shown,
                issuer_ready,
                recovery,
                writes,
                ingress_writes,
                lag,
                fuses,
            }
        },
    )
}

/// A course on which everything is right in the end.
fn good_course() -> impl Strategy<Value = Course> {
    (course(temporary), option::of(seconds(0..600)), seconds(0..60)).prop_map(
        |(course, unreachable, pods)| {
            let answer = if unreachable.is_some() { Answer::Unreachable } else { Answer::Wrong };
            let right = (unreachable.unwrap_or(Duration::from_secs(90)), Answer::Right);
            Course {
                route: match course.route {
                    RouteCourse::Users { created } => RouteCourse::Users { created: created.or(Some(pods)) },
                    own @ RouteCourse::Own { .. } => own,
                },
                wait_instead_of_self_check: None,
                pods,
                answers: vec![(Duration::ZERO, answer), right],
                ca: CaCourse {
                    // A server may have another way to the name.
                    sees: Some(Answer::Right),
                    verdict: Verdict::ByAnswer,
                    lifetime: Duration::from_hours(30 * 24),
                    ..course.ca
                },
                ..course
            }
        },
    )
}

fn assert_moderate(world: &World) -> Result<(), TestCaseError> {
    world.ca.meter.assert_moderate("requests to the CA", MOST_IN_AN_HOUR)?;
    world.probes.assert_moderate("probes", MOST_IN_AN_HOUR)?;
    world.status_writes.assert_moderate("status writes", MOST_IN_AN_HOUR)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The other rules are in [`World`]: a challenge is submitted once in the life of a process, when it may be, and something always
    /// reconciles it.
    #[test]
    fn challenges_end_or_wait_for_their_user(course in course(any_failure)) {
        let mut world = World::new(course);
        world.run();
        assert_moderate(&world)?;
        if !world.gone {
            prop_assert!(world.waits_for_its_user());
            return Ok(());
        }
        prop_assert!(world.is_clean(), "a path is left in a user's Ingress");
        let Some((state, reason)) = world.end.clone() else { panic!("it is gone, and has not ended") };
        if state == State::Valid {
            prop_assert_eq!(reason, "Successfully authorized domain");
        } else {
            prop_assert!(world.ca.causes.contains(&reason), "{reason:?} is none of {:?}", world.ca.causes);
            prop_assert!(world.warnings <= 1, "{} events", world.warnings);
        }
    }

    /// Whatever fails for a while, and wherever the process ends.
    #[test]
    fn challenges_become_valid_if_nothing_fails_for_good(course in good_course()) {
        let mut world = World::new(course);
        world.run();
        assert_moderate(&world)?;
        prop_assert_eq!(world.end.map(|(state, _)| state), Some(State::Valid));
    }
}
