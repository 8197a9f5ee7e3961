//! Orders under every answer, failure and crash: whatever happens, they end, wait with a reason, and are placed once.

use std::time::Duration;

use crds::acme::State;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    after,
    ca::{CaCourse, End, Fault},
    world::{ChallengeCourse, Course, Interruption, World, WriteCourse},
};
use crate::decision::{
    Reaction,
    order::Renewal,
    testing::{Failure, failure, retry_after},
};

/// Longer than any course takes, with ten waits of a day.
const LONG: Duration = Duration::from_hours(60 * 24);

fn seconds(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        6 => Just(End::Issued),
        1 => Just(End::IssuedLate),
        1 => Just(End::Unreadable),
        1 => any::<bool>().prop_map(|says_why| End::Invalid { says_why }),
        1 => any::<bool>().prop_map(|forgotten| End::Never { forgotten }),
    ]
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Fault::AnswerLost)),
        1 => Just(Some(Fault::Slow)),
        2 => failure().prop_map(|failure| Some(Fault::Fails(failure))),
    ]
}

/// A failure after which the same request may succeed.
fn temporary() -> impl Strategy<Value = Failure> {
    failure()
        .prop_filter("a failure of the attempt", |failure| Reaction::to(&failure.error()) != Reaction::Fail)
}

fn ca() -> impl Strategy<Value = CaCourse> {
    let times = (seconds(0..20), prop_oneof![Just(Duration::ZERO), seconds(0..100)], seconds(600..7200));
    (
        vec(any::<bool>(), 1..=3),
        times,
        retry_after(),
        end(),
        any::<bool>(),
        prop_oneof![Just(Vec::new()), vec(fault(), 0..8)],
    )
        .prop_map(
            |(authorized, (ready_after, done_after, lifetime), retry_after, end, reuses, faults)| CaCourse {
                authorized,
                profiles: vec!["classic".to_owned()],
                ready_after,
                done_after,
                retry_after,
                end,
                reuses,
                lifetime,
                faults,
                failure: None,
            },
        )
}

fn challenge() -> impl Strategy<Value = ChallengeCourse> {
    let end = prop_oneof![
        6 => Just(Some(State::Valid)),
        1 => select(&[State::Invalid, State::Expired, State::Errored][..]).prop_map(Some),
        1 => Just(None),
    ];
    (seconds(0..300), end).prop_map(|(after, end)| ChallengeCourse { after, end })
}

fn write() -> impl Strategy<Value = WriteCourse> {
    prop_oneof![
        4 => Just(WriteCourse::Accepted),
        1 => Just(WriteCourse::Conflict),
        1 => Just(WriteCourse::Rejected),
        1 => Just(WriteCourse::Unheard),
    ]
}

fn course() -> impl Strategy<Value = Course> {
    let profile = option::weighted(0.3, select(&["classic", "classic", "other"][..]).prop_map(str::to_owned));
    let new_orders = prop_oneof![
        Just((None, 0)),
        (1_u32..400, 0_u32..8).prop_map(|(limit, others)| (Some(limit), others))
    ];
    (
        (ca(), profile, select(&[Renewal::Nothing, Renewal::SomeNames, Renewal::AllNames][..]), new_orders),
        vec(challenge(), 0..5),
        prop_oneof![Just(Vec::new()), vec(write(), 0..8)],
        prop_oneof![Just(Duration::ZERO), (0_u64..5000).prop_map(Duration::from_millis)],
        vec((seconds(0..120), seconds(0..900)), 0..2),
        seconds(0..60),
        (
            vec((0_usize..12, select(&[Interruption::Crash, Interruption::Deadline][..])), 0..4),
            any::<(bool, bool)>(),
        ),
    )
        .prop_map(
            |(
                (ca, profile, renewal, new_orders),
                challenges,
                writes,
                lag,
                outages,
                recovery,
                (fuses, (created_here, starts_stale)),
            )| Course {
                ca,
                profile,
                renewal,
                new_orders,
                challenges,
                writes,
                lag,
                outages,
                recovery,
                created_here,
                starts_stale,
                fuses,
            },
        )
}

/// A course on which nothing fails for good.
fn good_course() -> impl Strategy<Value = Course> {
    let good_challenge = seconds(0..60).prop_map(|after| ChallengeCourse { after, end: Some(State::Valid) });
    let fault = prop_oneof![
        Just(None),
        Just(Some(Fault::AnswerLost)),
        Just(Some(Fault::Slow)),
        temporary().prop_map(|failure| Some(Fault::Fails(failure)))
    ];
    (course(), vec(good_challenge, 0..5), vec(fault, 0..8)).prop_map(|(course, challenges, faults)| {
        let end = if course.ca.end == End::IssuedLate { End::IssuedLate } else { End::Issued };
        let ca = CaCourse { end, faults, lifetime: LONG, ..course.ca };
        Course { ca, challenges, profile: None, ..course }
    })
}

fn run(course: Course) -> Result<World, TestCaseError> {
    let mut world = World::new(course);
    let end = after(world.now, LONG);
    world.run(end).map_err(TestCaseError::fail)?;
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The rules are in `world/rules.rs`: an order ends with a certificate or with its cause; while it waits, something
    /// enqueues it, and its status says why and until when; it is placed once, unless the process could not know of the
    /// first order.
    #[test]
    fn orders_end_with_a_certificate_or_a_cause(course in course()) {
        let world = run(course)?;
        prop_assert!(world.is_done(), "it does not end: {:?}", world.status());
    }

    #[test]
    fn temporary_failures_never_fail_an_order(course in good_course()) {
        let world = run(course)?;
        prop_assert_eq!(world.status().state, Some(State::Valid), "{:?}", world.status());
    }

    /// However short the waits are that the server asks for: no more requests in an hour than the backoff allows.
    #[test]
    fn failing_server_is_asked_less_and_less(
        course in good_course(),
        failure in temporary(),
        kind in option::of(select(&["place", "authorizations", "finalize", "order", "certificate"][..])),
    ) {
        let ca = CaCourse { faults: Vec::new(), failure: Some((failure, kind)), ..course.ca };
        let mut world = World::new(Course { ca, fuses: Vec::new(), writes: Vec::new(), ..course });
        let end = after(world.now, Duration::from_hours(1));
        world.run(end).map_err(TestCaseError::fail)?;
        // Waits of 0.75 s, 1.5 s and so on up to 192 s, then of 225 s or more; two requests at most in each attempt.
        let most = 2 * (9 + 3600 / 225);
        let requests = world.ca.requests_since_failure;
        prop_assert!(requests <= most, "{requests} requests in an hour\n{}", world.log);
    }
}
