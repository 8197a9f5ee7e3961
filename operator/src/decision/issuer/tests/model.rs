//! Issuers under every response, failure and crash: they become ready with the account that the CA has, or say why not and try
//! again.

use std::{ops::Range, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{
    ca::{CaCourse, Reply},
    world::{Binding, Change, Course, SecretCourse, World},
};
use crate::decision::{
    Reaction,
    runner::write,
    testing::{Failure, failure},
};

/// The most requests or status writes in an hour. One failure in 225 seconds (five minutes less the jitter) makes 16, with an update
/// of the contact 32; the rest is for quicker ones at first, after changes and after three crashes.
const MOST_IN_AN_HOUR: usize = 90;

fn seconds(range: Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs)
}

fn any_failure() -> BoxedStrategy<Failure> {
    failure().boxed()
}

/// A failure after which the same request may succeed.
fn temporary() -> BoxedStrategy<Failure> {
    failure().prop_filter("it lasts", |it| Reaction::to(&it.error()) != Reaction::Fail).boxed()
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![2 => Just(Reply::Done), 1 => Just(Reply::Lost), 2 => failure().prop_map(Reply::Fails)]
}

fn ca(failures: fn() -> BoxedStrategy<Failure>) -> impl Strategy<Value = CaCourse> {
    (
        prop_oneof![Just(Vec::new()), vec(reply(), 0..8)],
        option::weighted(0.3, (seconds(0..300), seconds(0..7200), failures())),
        option::weighted(0.2, failures()),
        prop::bool::weighted(0.2),
        any::<bool>(),
    )
        .prop_map(|(replies, outage, failure, requires_binding, returns_contact)| CaCourse {
            replies,
            outage: outage.map(|(from, length, failure)| (from, from + length, failure)),
            failure,
            requires_binding,
            returns_contact,
        })
}

fn email() -> impl Strategy<Value = Option<&'static str>> {
    select(&[None, Some("one@example.test"), Some("Two@example.test")][..])
}

fn secret() -> impl Strategy<Value = SecretCourse> {
    prop_oneof![
        4 => Just(SecretCourse::Absent),
        1 => Just(SecretCourse::Empty),
        1 => Just(SecretCourse::Garbage),
        2 => (0_usize..3).prop_map(SecretCourse::Key),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => secret().prop_map(Change::Secret),
        2 => email().prop_map(Change::Email),
        1 => Just(Change::Annotation),
        2 => Just(Change::LoseAccounts),
    ]
}

fn binding() -> impl Strategy<Value = Binding> {
    let missing = option::weighted(0.7, seconds(0..600)).prop_map(|created| Binding::Missing { created });
    prop_oneof![6 => Just(Binding::None), 2 => Just(Binding::Usable), 1 => Just(Binding::NotBase64), 1 => missing]
}

fn course(failures: fn() -> BoxedStrategy<Failure>) -> impl Strategy<Value = Course> {
    let lag = prop_oneof![Just(Duration::ZERO), (0_u64..5000).prop_map(Duration::from_millis)];
    let writes = prop_oneof![Just(Vec::new()), vec(write(), 0..6)];
    let api = (writes, vec(write(), 0..3), lag);
    (
        ca(failures),
        (email(), prop::bool::weighted(0.2), binding(), secret()),
        vec((seconds(0..7200), change()), 0..5),
        api,
        prop_oneof![Just(Vec::new()), vec(0_usize..6, 0..4)],
    )
        .prop_map(
            |(
                ca,
                (email, disable_key_generation, binding, secret),
                changes,
                (writes, secret_writes, lag),
                fuses,
            )| {
                Course {
                    ca,
                    email,
                    disable_key_generation,
                    binding,
                    secret,
                    changes,
                    writes,
                    secret_writes,
                    lag,
                    fuses,
                }
            },
        )
}

fn assert_moderate(world: &World) -> Result<(), TestCaseError> {
    world.ca.meter.assert_moderate("requests to the CA", MOST_IN_AN_HOUR)?;
    world.status_writes.assert_moderate("status writes", MOST_IN_AN_HOUR)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The other rules are in [`World`]: something always reconciles an issuer, and retries publish no event.
    #[test]
    fn issuers_become_ready_or_say_why_not(course in course(any_failure)) {
        let mut world = World::new(course);
        world.run();
        assert_moderate(&world)?;
        prop_assert!(world.works() || !world.can_work());
    }

    /// Whatever fails for a while, and wherever the process ends.
    #[test]
    fn issuers_recover_from_what_passes(course in course(temporary)) {
        let ca = CaCourse { failure: None, requires_binding: false, ..course.ca };
        let secret = if course.secret == SecretCourse::Absent { SecretCourse::Absent } else { SecretCourse::Key(0) };
        let changes = course.changes.into_iter().filter(|(_, change)| !matches!(change, Change::Secret(_)));
        let mut world = World::new(Course {
            ca,
            secret,
            binding: Binding::None,
            disable_key_generation: false,
            changes: changes.collect(),
            ..course
        });
        world.run();
        assert_moderate(&world)?;
        prop_assert!(world.works());
    }
}
