//! From the first request to a written Secret, and what happens if that fails.

use crds::{
    annotations::request::{CERTIFICATE_REVISION, ISSUE_TEMPORARY_CERTIFICATE},
    certmanager::RotationPolicy,
};

use super::{
    world::{Fault, Server},
    *,
};
use crate::pki::{Curve, KeyKind, PrivateKey};

/// Nothing is written to the request: cert-manager may run beside this operator and sign it.
#[test]
fn issuer_of_an_unsupported_type_is_named() {
    let mut world = World::new(|_| {});
    (world.issuer, world.unsupported) = (None, Some("ca"));
    assert!(world.run(5));
    let message = world.message(condition::READY);
    assert!(message.contains("is of the type ca, which this operator does not support"), "{message}");
    world.issue();
    assert!(world.run(5), "it settles");
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
}

#[test]
fn new_certificate_stores_key_before_anything_else() {
    let mut world = World::new(|_| {});
    let missing = world.decide().expect_err("no key, no action");
    assert!(matches!(missing, Prerequisite::NextKey { source: KeySource::Generate(_), .. }), "{missing:?}");
    assert!(world.run(5), "it waits for the CA");
    for type_ in [condition::READY, condition::ISSUING] {
        assert_eq!(world.condition(type_).map(|(_, reason)| reason), Some("DoesNotExist"));
    }
    world.issue();
    assert!(world.run(5), "it settles");
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
    assert_eq!(world.condition(condition::ISSUING), None);
    assert_eq!(world.status().revision, Some(1));
    assert!(world.keys.is_empty() && world.status().next_private_key_secret_name.is_none());
    // A third of 90 days before its end.
    assert_eq!(world.renewal_time(), "2026-03-02T00:00:00Z");
}

#[test]
fn failure_backs_off_and_names_next_attempt() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.fail("no such host");
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::False, "Failed")));
    let message = world.message(condition::ISSUING);
    assert!(
        message.contains("no such host") && message.contains("the next attempt is at 2026-01-01T01:00:00Z"),
        "{message}"
    );
    assert!(world.keys.is_empty());
    assert_eq!(world.requeue(), Requeue::After(Duration::from_hours(1)));

    world.wait(SignedDuration::from_mins(59));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::False, "Failed")));
    world.wait(SignedDuration::from_mins(2));
    assert!(world.run(8), "it requests again");
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::True, "DoesNotExist")));
    world.fail("still none");
    assert!(world.run(5));
    assert_eq!(world.status().failed_issuance_attempts, Some(2));
    assert!(world.message(condition::ISSUING).contains("T03:01:00Z"), "the backoff has doubled");
}

#[test]
fn changed_spec_ends_backoff() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.fail("no such host");
    assert!(world.run(5));
    world.edit_spec();
    assert!(world.run(8));
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::True, "DoesNotExist")));
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().failed_issuance_attempts, None);
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
}

#[test]
fn spec_changed_while_issuing_is_requested_again() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.edit_spec();
    assert!(world.run(5));
    let csr = Csr::from_pem(&world.requests[0].spec.request.0).expect("a CSR");
    assert_eq!(csr.dns_names, ["w2.example.test"]);
}

#[test]
fn order_reason_is_shown_on_the_certificate() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.order_reason = Some("web.example.test: no route".into());
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::True, "DoesNotExist")));
    assert_eq!(world.message(condition::ISSUING), "web.example.test: no route");
}

#[test]
fn certificate_for_another_key_is_not_written() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    let other = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
    world.issue_for(&other, &["web.example.test".to_owned()], hours(1));
    assert!(world.run(5));
    assert!(world.secret.is_none());
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::False, "InvalidCertificate")));
}

/// `cmctl renew` sets the Issuing condition, which skips the backoff.
#[test]
fn manual_trigger_skips_backoff() {
    let mut world = issued(|_| {});
    let status = world.certificate.status.get_or_insert_default();
    status.last_failure_time = Some(condition::whole_seconds(world.now));
    let triggered = condition_of(
        condition::ISSUING,
        ConditionStatus::True,
        "ManuallyTriggered",
        "Certificate re-issuance manually triggered",
    );
    condition::set(&mut status.conditions, triggered, world.now);
    assert!(world.run(5));
    assert_eq!(world.requests.len(), 2);
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().revision, Some(2));
}

#[test]
fn rotation_policy_never_reuses_the_key() {
    let mut world = issued(|it| {
        it.spec.private_key.get_or_insert_default().rotation_policy = Some(RotationPolicy::Never);
    });
    let key = world.leaf().expect("a leaf").public_key_der;
    world.wait(hours(60 * 24));
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().revision, Some(2));
    assert_eq!(world.leaf().expect("a leaf").public_key_der, key);
}

/// A key that must not change but does not match the spec needs a user.
#[test]
fn unusable_key_is_reported_once() {
    let mut world = issued(|_| {});
    let key = world.certificate.spec.private_key.get_or_insert_default();
    (key.rotation_policy, key.size) = (Some(RotationPolicy::Never), Some(384));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::True, "CannotRegenerateKey")));
    assert_eq!(world.requests.len(), 1, "nothing is requested");
    assert_eq!(world.warnings(Reason::CannotRegenerateKey), 1);
}

#[test]
fn temporary_certificate_is_replaced() {
    let mut world = World::new(|it| {
        it.annotations_mut().insert(ISSUE_TEMPORARY_CERTIFICATE.to_owned(), "true".to_owned());
    });
    assert!(world.run(5));
    assert!(world.secret.as_ref().is_some_and(|secret| SecretView::parse(secret).temporary));
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::False, "DoesNotExist")));
    world.issue();
    assert!(world.run(5));
    assert!(world.secret.as_ref().is_some_and(|secret| !SecretView::parse(secret).temporary));
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
}

/// A user sees that the Gateway waits for a Secret, and asks for a temporary certificate.
#[test]
fn temporary_certificate_may_be_asked_for_later() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    assert!(world.secret.is_none(), "it waits for the CA");
    let annotations = world.certificate.annotations_mut();
    annotations.insert(ISSUE_TEMPORARY_CERTIFICATE.to_owned(), "true".to_owned());
    assert!(world.run(5), "it settles");
    assert!(world.secret.as_ref().is_some_and(|secret| SecretView::parse(secret).temporary));
    assert_eq!(world.requests.len(), 1, "the request is kept");
    world.issue();
    assert!(world.run(5));
    assert!(world.secret.as_ref().is_some_and(|secret| !SecretView::parse(secret).temporary));
}

/// A backup is restored: the Secret comes after the Certificate.
#[test]
fn restored_secret_ends_the_issuance() {
    let mut world = issued(|_| {});
    let secret = world.secret.take();
    world.certificate.status = None;
    world.requests.clear();
    assert!(world.run(5));
    assert_eq!(world.requests.len(), 1, "a certificate is requested");
    world.secret = secret;
    assert!(world.run(5));
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
    assert_eq!(world.condition(condition::ISSUING), None);
    assert!(world.requests.is_empty() && world.keys.is_empty());
}

/// The CA has suggested an early renewal, and its issuer is not ready for a moment.
#[test]
fn renewal_outlasts_an_unready_issuer() {
    let mut world = issued(|_| {});
    world.server = Server::Suggests(hours(1));
    world.wait(hours(7));
    assert!(world.run(5));
    assert_eq!(world.requests.len(), 2, "the renewal is requested");
    world.issuer = Some(IssuerView { ready: false, renewal_information_source: None });
    assert!(world.run(5));
    assert_eq!(world.requests.len(), 2, "it is not canceled");
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().revision, Some(2));
}

#[test]
fn manual_issuance_is_not_needless() {
    let mut world = issued(|_| {});
    let triggered = condition_of(condition::ISSUING, ConditionStatus::True, "ManuallyTriggered", "");
    let status = world.certificate.status.get_or_insert_default();
    condition::set(&mut status.conditions, triggered, world.now);
    assert!(world.run(5));
    assert_eq!(world.requests.len(), 2, "it is requested although nothing is wrong");
}

/// Objects of a backup are created in any order.
#[test]
fn certificate_waits_for_its_secret_while_others_are_restored() {
    let mut world = World::new(|_| {});
    world.certificate.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now));
    world.restored = Some(world.now);
    assert!(world.run(5));
    assert!(world.requests.is_empty());
    assert!(world.message(condition::READY).contains("being restored from a backup"));
    assert_eq!(world.requeue(), Requeue::After(Duration::from_secs(10)));
    world.wait(SignedDuration::from_secs(10));
    assert!(world.run(5));
    assert_eq!(world.requests.len(), 1, "no Secret has come");
    // An old Certificate waits for nothing.
    let mut world = World::new(|_| {});
    world.certificate.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now - hours(1)));
    world.restored = Some(world.now);
    assert!(world.run(5));
    assert_eq!(world.requests.len(), 1);
}

/// Not every approver sets the time of a denial: without it, the request would be found again after each wait.
#[test]
fn denied_request_is_replaced_at_the_next_attempt() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.complete(|status| {
        let denied = condition_of(condition::DENIED, ConditionStatus::True, "Policy", "not allowed");
        status.conditions.push(denied);
    });
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::False, "Denied")));
    world.wait(hours(2));
    assert!(world.run(5));
    assert!(world.has_pending_request(), "another one is created");
}

/// Whatever of the spec a user corrects after a failure.
#[test]
fn edited_spec_is_tried_immediately() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.fail("the key is not supported");
    assert!(world.run(5));
    assert!(!world.has_pending_request());
    world.certificate.spec.private_key.get_or_insert_default().size = Some(384);
    *world.certificate.metadata.generation.get_or_insert_default() += 1;
    assert!(world.run(8));
    assert!(world.has_pending_request());
}

/// The backoff must not outlast the certificate that is in use.
#[test]
fn backoff_is_shorter_than_the_rest_of_the_lifetime() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    let (key, names) = (Arc::clone(world.next_key().expect("a key")), vec!["web.example.test".to_owned()]);
    world.certificate.spec.dns_names = Some(names.clone());
    assert!(world.run(5));
    let key = world.next_key().map_or(key, Arc::clone);
    world.issue_for(&key, &names, hours(24));
    assert!(world.run(5));
    let mut attempts = 0;
    while world.now < world.status().not_after.as_ref().expect("an end").0 {
        world.wait(SignedDuration::from_mins(10));
        assert!(world.run(8));
        if world.has_pending_request() {
            world.fail("no such host");
            attempts += 1;
        }
    }
    assert!((8..=32).contains(&attempts), "{attempts} attempts in the last eight hours");
    let failures = world.status().failed_issuance_attempts;
    world.wait(SignedDuration::from_mins(70));
    assert!(world.run(8));
    assert!(world.has_pending_request(), "after {failures:?} failures it is tried each hour");
}

/// A process that ends between the last write of the status and the deletion leaves a key, even if the next renewal is already due.
#[test]
fn key_left_by_a_crash_is_deleted() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.issue();
    world.fault = Some((2, Fault::Crash));
    assert!(world.reconcile().is_err(), "it ends after the Secret and the status");
    assert_eq!(world.keys.len(), 1);
    world.wait(hours(60 * 24));
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    assert!(world.keys.is_empty());
}

/// A CSR that can't be read is not asked for again and again.
#[test]
fn unreadable_request_fails_the_attempt() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    for wait in [1, 2, 4] {
        let mut request = (*world.requests.pop().expect("a request")).clone();
        request.spec.request.0 = b"none".to_vec();
        request.metadata.creation_timestamp = Some(condition::whole_seconds(world.now));
        world.requests.push(Arc::new(request));
        assert!(world.run(3));
        assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::False, "InvalidRequest")));
        assert!(world.message(condition::READY).contains("it contains no PEM block"));
        let Requeue::After(next) = world.requeue() else { panic!("{:?}", world.requeue()) };
        assert!(next > Duration::from_mins(50) * wait && world.requests.len() == 1, "{next:?}");
        world.wait(hours(i64::from(2 * wait)));
        assert!(world.run(8) && world.has_pending_request());
    }
    world.issue();
    assert!(world.run(8));
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
}

/// `cmctl renew` writes the time of the user's computer, and a user who may edit the status can write any time.
#[test]
fn issuance_that_starts_in_the_future_starts_now() {
    for patches in [1, 20] {
        let mut world = World::new(|_| {});
        world.is_paced = true;
        let mut attempts = 0;
        for round in 0..20 {
            if round < patches {
                let status = world.certificate.status.get_or_insert_default();
                condition::remove(&mut status.conditions, condition::ISSUING);
                let mut issuing =
                    condition_of(condition::ISSUING, ConditionStatus::True, "ManuallyTriggered", "");
                issuing.last_transition_time =
                    Some(condition::whole_seconds("2099-01-01T00:00:00Z".parse().expect("a time")));
                status.conditions.push(issuing);
            }
            assert!(world.run(8));
            if world.has_pending_request() {
                attempts += 1;
                world.fail("no such host");
            }
            world.wait(SignedDuration::from_secs(1));
        }
        assert!(attempts <= if patches == 1 { 1 } else { 8 }, "{patches}: {attempts}");
    }
}

/// Users may write any revision into the status, and ask for any number of requests to be kept.
#[test]
fn extreme_revisions_are_followed_by_others() {
    for (revision, next) in [(i64::MAX, 1), (i64::MIN, 1), (-1, 1), (4_000_000_000, 4_000_000_001)] {
        let mut world = issued(|it| it.spec.revision_history_limit = Some(i32::MAX));
        world.certificate.status.get_or_insert_default().revision = Some(revision);
        let kept = (0..LONGEST_HISTORY + 70).map(|number| {
            let mut request = (*world.requests[0]).clone();
            request.metadata.name = Some(format!("past-{number}"));
            request.annotations_mut().insert(CERTIFICATE_REVISION.to_owned(), format!("-{number}"));
            Arc::new(request)
        });
        world.requests = kept.collect();
        world.secret = None;
        assert!(world.run(8) && world.has_pending_request(), "{revision}");
        world.issue();
        assert!(world.run(12), "it settles");
        assert_eq!(world.status().revision, Some(next));
        assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
        assert!(world.keys.is_empty() && world.requests.len() == LONGEST_HISTORY, "{}", world.requests.len());
    }
}
