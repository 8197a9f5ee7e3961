//! A Certificate in a world that does what is decided: every way through it ends with a good Secret and nothing left to do.

mod world;

use std::{collections::BTreeMap, time::Duration};

use crds::{
    certmanager::{Renewal, RenewalPolicy, RenewalWindow, RotationPolicy, SuggestedWindow},
    fixtures,
};
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use proptest::prelude::*;

use self::world::{World, issued, ready};
use super::{policy::RIVAL_DELAY, *};
use crate::pki;

#[test]
fn a_new_certificate_makes_its_key_first_then_asks_and_then_writes() {
    let mut world = World::new(|_| {});
    let actions = world.decide().actions;
    let order: Vec<_> = actions.iter().map(std::mem::discriminant).collect();
    let key = actions.iter().position(|action| matches!(action, Action::EnsureNextKey { .. }));
    let asked = actions.iter().position(|action| matches!(action, Action::CreateRequest { .. }));
    assert!(key < asked && key.is_some(), "{order:?}");
    assert!(world.run(5));
    assert_eq!(world.condition(condition::READY).map(|it| it.1).as_deref(), Some("DoesNotExist"));
    assert_eq!(world.condition(condition::ISSUING).map(|it| it.1).as_deref(), Some("DoesNotExist"));
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.condition(condition::READY).map(|it| it.0), Some(ConditionStatus::True));
    assert_eq!(world.condition(condition::ISSUING), None);
    assert_eq!(world.status().revision, Some(1));
    assert!(world.keys.is_empty() && world.status().next_private_key_secret_name.is_none());
    // A third of 90 days before its end.
    assert_eq!(
        world.status().renewal_time.as_ref().map(|time| time.0.to_string()).as_deref(),
        Some("2026-03-02T00:00:00Z")
    );
}

#[test]
fn at_its_time_it_is_renewed_and_stays_ready_meanwhile() {
    let mut world = issued(|_| {});
    assert!(matches!(world.decide().requeue, Requeue::After(_)));
    world.wait(SignedDuration::from_hours(60 * 24));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING).map(|it| it.1).as_deref(), Some("Renewing"));
    assert_eq!(world.condition(condition::READY).map(|it| it.0), Some(ConditionStatus::True));
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().revision, Some(2));
    // The history limit is one.
    assert_eq!(world.requests.len(), 1);
}

/// One that has been issued, with one maintenance window.
fn issued_with_window(cron: &str) -> World {
    issued(|it| {
        let window = RenewalWindow {
            cron: Some(cron.to_owned()),
            timezone: None,
            window_duration: Some("2h".parse().expect("a duration")),
        };
        it.spec.renewal = Some(Renewal { policy: None, windows: Some(vec![window]) });
    })
}

#[test]
fn a_renewal_waits_for_its_maintenance_window() {
    let mut world = issued_with_window("0 3 * * 0");
    let time = world.status().renewal_time.as_ref().map(|time| time.0.to_string());
    // The first Sunday after 2 March.
    assert_eq!(time.as_deref(), Some("2026-03-08T03:00:00Z"));
    world.wait(SignedDuration::from_hours(61 * 24));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), None);
    world.wait(SignedDuration::from_hours(6 * 24));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING).map(|it| it.1).as_deref(), Some("Renewing"));
    assert!(world.notes.iter().all(|note| note.reason != "WindowError"));
}

#[test]
fn a_window_that_can_not_be_is_told_once_and_keeps_nobody_from_renewing() {
    for cron in ["whenever", "0 3 30 2 *"] {
        let mut world = issued_with_window(cron);
        assert!(world.run(5));
        let told = world.notes.iter().filter(|note| note.reason == "WindowError" && note.warning).count();
        assert_eq!(told, 1, "{cron}: {:?}", world.notes);
        let time = world.status().renewal_time.as_ref().map(|time| time.0.to_string());
        assert_eq!(time.as_deref(), Some("2026-03-02T00:00:00Z"));
    }
}

#[test]
fn a_failure_says_when_it_is_tried_again_and_waits_until_then() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.fail("no such host");
    assert!(world.run(5));
    let (status, reason, message) = world.condition(condition::ISSUING).expect("a condition");
    assert_eq!((status, reason.as_str()), (ConditionStatus::False, "Failed"));
    assert!(
        message.contains("no such host") && message.contains("the next attempt is at 2026-01-01T01:00:00Z"),
        "{message}"
    );
    assert!(world.keys.is_empty());
    assert_eq!(world.decide().requeue, Requeue::After(Duration::from_hours(1)));

    world.wait(SignedDuration::from_mins(59));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING).map(|it| it.0), Some(ConditionStatus::False));
    world.wait(SignedDuration::from_mins(2));
    assert!(world.run(8), "it does not come to rest");
    assert_eq!(world.condition(condition::ISSUING).map(|it| it.0), Some(ConditionStatus::True));
    world.fail("still none");
    assert!(world.run(5));
    assert_eq!(world.status().failed_issuance_attempts, Some(2));
    assert!(world.condition(condition::ISSUING).expect("a condition").2.contains("T03:01:00Z"));
}

#[test]
fn a_changed_spec_does_not_wait_for_the_last_failure() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.fail("no such host");
    assert!(world.run(5));
    world.certificate.spec.dns_names = Some(vec!["other.example.test".into()]);
    assert!(world.run(8));
    assert_eq!(world.condition(condition::ISSUING).map(|it| it.0), Some(ConditionStatus::True));
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().failed_issuance_attempts, None);
    assert_eq!(world.condition(condition::READY).map(|it| it.0), Some(ConditionStatus::True));
}

#[test]
fn a_spec_that_changes_while_it_is_issued_is_asked_for_anew() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.certificate.spec.dns_names = Some(vec!["other.example.test".into()]);
    assert!(world.run(5));
    let csr = Csr::from_pem(&world.requests[0].spec.request.0).expect("a CSR");
    assert_eq!(csr.dns_names, ["other.example.test"]);
}

#[test]
fn what_the_order_waits_for_stands_on_the_certificate() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.order_reason = Some("web.example.test: no route".into());
    assert!(world.run(5));
    let (status, reason, message) = world.condition(condition::ISSUING).expect("a condition");
    assert_eq!((status, reason.as_str()), (ConditionStatus::True, "DoesNotExist"));
    assert_eq!(message, "web.example.test: no route");
}

#[test]
fn a_certificate_for_another_key_is_a_failure_and_never_written() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    let other = PrivateKey::generate(pki::KeyKind::Ecdsa(pki::Curve::P256)).expect("a key");
    let names = ["web.example.test".to_owned()];
    let chain = pki::testing::issue(&other, &names, world.now, SignedDuration::from_hours(1));
    world.answer(|status| {
        status.certificate = Some(ByteString(chain.into_bytes()));
        status.conditions.push(ready(ConditionStatus::True, "Issued", ""));
    });
    assert!(world.run(5));
    assert!(world.secret.is_none());
    assert_eq!(world.condition(condition::ISSUING).map(|it| it.1).as_deref(), Some("InvalidCertificate"));
}

#[test]
fn a_foreign_secret_and_a_rivals_secret_are_left_alone() {
    let mut world = World::new(|_| {});
    let foreign = k8s_openapi::api::core::v1::Secret {
        data: Some(BTreeMap::from([("tls.crt".to_owned(), ByteString(b"theirs".to_vec()))])),
        ..k8s_openapi::api::core::v1::Secret::default()
    };
    world.secret = Some(SecretView::parse(&foreign));
    assert!(world.run(5));
    assert!(world.requests.is_empty());
    assert!(world.condition(condition::READY).expect("a condition").2.contains("left alone"));

    let mut world = World::new(|_| {});
    world.rivals = vec![Arc::new(fixtures::certificate("aaa", |it| it.spec.secret_name = "web".into()))];
    assert!(world.run(5));
    assert!(world.requests.is_empty());
    assert_eq!(world.condition(condition::READY).map(|it| it.1).as_deref(), Some("IncorrectCertificate"));
    assert_eq!(world.decide().requeue, Requeue::After(RIVAL_DELAY));
}

#[test]
fn a_key_that_must_not_change_and_does_not_fit_is_told() {
    let mut world = issued(|it| {
        let key = it.spec.private_key.get_or_insert_default();
        key.rotation_policy = Some(RotationPolicy::Always);
    });
    let key = world.certificate.spec.private_key.get_or_insert_default();
    (key.rotation_policy, key.size) = (Some(RotationPolicy::Never), Some(384));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING).map(|it| it.1).as_deref(), Some("CannotRegenerateKey"));
    assert!(world.requests.len() == 1, "nothing is asked for");
}

#[test]
fn what_the_server_suggests_comes_before_the_formula_and_goes_with_the_certificate() {
    let mut world = issued(|_| {});
    let at = |text: &str| Some(condition::whole_seconds(text.parse().expect("a time")));
    let window = SuggestedWindow { start: at("2026-01-03T00:00:00Z"), end: at("2026-01-04T00:00:00Z") };
    world.renewal_information =
        Some(RenewalInformation { suggested_window: Some(window), ..RenewalInformation::default() });
    assert!(world.run(5));
    let time = world.status().renewal_time.as_ref().expect("a time").0.to_string();
    assert!(time.starts_with("2026-01-03T"), "{time}");
    world.wait(SignedDuration::from_hours(3 * 24));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING).map(|it| it.1).as_deref(), Some("Renewing"));
    world.renewal_information = None;
    world.issue();
    assert!(world.run(5));
    assert!(world.status().acme.is_none());
}

#[test]
fn what_a_user_triggers_is_issued_whatever_the_last_failure() {
    let mut world = issued(|_| {});
    // As `cmctl renew` does it.
    let status = world.certificate.status.get_or_insert_default();
    status.last_failure_time = Some(condition::whole_seconds(world.now));
    let mut asked =
        ready(ConditionStatus::True, "ManuallyTriggered", "Certificate re-issuance manually triggered");
    asked.type_ = condition::ISSUING.to_owned();
    condition::set(&mut status.conditions, asked, world.now);
    assert!(world.run(5));
    assert_eq!(world.requests.len(), 2);
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().revision, Some(2));
}

/// Neither its end nor a check that could not be made is a reason to reconcile it again immediately, without end.
#[test]
fn passed_times_do_not_requeue_immediately() {
    let mut world =
        issued(|it| it.spec.renewal = Some(Renewal { policy: Some(RenewalPolicy::Disabled), windows: None }));
    let end = SignedDuration::from_hours(90 * 24);
    assert_eq!(world.decide().requeue, Requeue::After((end + SignedDuration::from_secs(1)).unsigned_abs()));
    world.wait(end + SignedDuration::from_secs(1));
    assert!(world.run(5), "settles");
    assert_eq!(world.condition(condition::READY).map(|it| it.1).as_deref(), Some("Expired"));
    assert_eq!(world.decide().requeue, Requeue::Resync);

    let mut world = issued(|_| {});
    let passed = Some(condition::whole_seconds(world.now));
    world.renewal_information =
        Some(RenewalInformation { next_check: passed, ..RenewalInformation::default() });
    assert!(world.run(5), "settles");
    let renewal = SignedDuration::from_hours(60 * 24).unsigned_abs();
    assert_eq!(world.decide().requeue, Requeue::After(renewal));
}

/// A process that ends between the last write of the status and the deletion leaves a key, even if the next renewal is already due.
#[test]
fn key_left_by_a_crash_is_deleted() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.issue();
    world.fuse = Some(2);
    world.run(1);
    assert_eq!(world.keys.len(), 1, "the process ended after the Secret and the status");
    world.wait(SignedDuration::from_hours(60 * 24));
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    assert!(world.keys.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in whatever order, and wherever the process ends: once the CA issues, there is a good Secret, one
    /// request, no key of the past, and nothing to do.
    #[test]
    fn every_way_ends_with_a_good_secret_and_nothing_left_to_do(
        steps in prop::collection::vec((0_u8..6, prop::option::of(0_usize..6)), 0..12),
    ) {
        let mut world = World::new(|_| {});
        for (step, fuse) in steps {
            world.fuse = fuse;
            world.run(8);
            let under_way = world.requests.last().is_some_and(|request| request.status.is_none())
                && world.next_key().is_some();
            match step {
                0 if under_way => world.issue(),
                1 if under_way => world.fail("no"),
                2 => world.secret = None,
                3 => world.certificate.spec.dns_names = Some(vec![format!("w{}.example.test", world.writes)]),
                4 => world.wait(SignedDuration::from_hours(40 * 24)),
                5 => { world.requests.pop(); }
                _ => {}
            }
        }
        world.fuse = None;
        for _ in 0..4 {
            world.wait(SignedDuration::from_hours(33));
            world.run(8);
            let under_way = world.requests.last().is_some_and(|request| request.status.is_none());
            if under_way && world.next_key().is_some() {
                world.issue();
            }
        }
        prop_assert!(world.run(8), "it does not come to rest");
        prop_assert_eq!(world.condition(condition::READY).map(|it| it.0), Some(ConditionStatus::True));
        prop_assert_eq!(world.condition(condition::ISSUING), None);
        prop_assert!(world.requests.len() <= 1 && world.keys.is_empty());
        let leaf = world.secret.as_ref().and_then(SecretView::leaf).expect("a leaf");
        prop_assert_eq!(Some(&leaf.dns_names), world.certificate.spec.dns_names.as_ref());
    }
}
