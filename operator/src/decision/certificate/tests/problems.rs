//! What keeps a Certificate from its desired state is in its status.

use crds::fixtures;

use super::*;

const NO_SECRET: &str = "Issuing certificate as Secret does not exist";

/// The messages of Ready and Issuing.
fn messages(world: &World) -> (String, Option<String>) {
    let message = |type_| {
        let found = condition::find(&world.status().conditions, type_);
        found
            .filter(|it| it.type_ == condition::READY || it.status == ConditionStatus::True)
            .and_then(|found| found.message.clone())
    };
    (message(condition::READY).expect("a message"), message(condition::ISSUING))
}

#[test]
fn reason_of_the_order_is_in_both_conditions_until_it_is_gone() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.order_reason = Some("no route".into());
    assert!(world.run(5));
    assert_eq!(messages(&world), ("no route".into(), Some("no route".into())));
    assert_eq!(world.warnings(Reason::Pending), 1);
    world.order_reason = None;
    assert!(world.run(5));
    let (ready, issuing) = messages(&world);
    assert_eq!((&*ready, issuing.as_deref()), (NO_SECRET, Some(NO_SECRET)));
}

#[test]
fn problem_of_a_renewal_is_appended_to_ready() {
    let mut world = issued(|_| {});
    world.wait(hours(60 * 24));
    assert!(world.run(5));
    world.order_reason = Some("no route".into());
    assert!(world.run(5));
    let (ready, issuing) = messages(&world);
    assert_eq!(ready, "Certificate is up to date and has not expired. Needs attention: no route");
    assert_eq!(issuing.as_deref(), Some("no route"));
    world.issue();
    assert!(world.run(5));
    assert_eq!(messages(&world), ("Certificate is up to date and has not expired".into(), None));
}

#[test]
fn failure_is_in_ready_with_the_next_attempt() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.fail("no such host");
    assert!(world.run(5));
    let (ready, _) = messages(&world);
    assert!(ready.contains("no such host"), "{ready}");
    assert!(ready.contains("; the next attempt is at 2026-01-01T01:"), "{ready}");
    world.wait(hours(2));
    assert!(world.run(5));
    assert_eq!(messages(&world), (NO_SECRET.into(), Some(NO_SECRET.into())));
}

/// What the runner writes if a reconcile fails before anything is decided.
#[test]
fn report_keeps_everything_but_the_messages() {
    let now = Timestamp::UNIX_EPOCH;
    let mut certificate = fixtures::certificate("web", |_| {});
    let status = report(&certificate, "failed", now);
    assert_eq!(status.conditions.len(), 1, "{status:?}");
    assert_eq!(status.conditions[0].status, ConditionStatus::False);
    certificate.status = Some(status.clone());
    assert_eq!(report(&certificate, "failed", now), status, "it is written once");
}

#[test]
fn names_that_no_certificate_can_have_are_refused() {
    let world = |change: fn(&mut Certificate)| {
        let mut world = World::new(change);
        assert!(world.run(3));
        (messages(&world).0, world.warnings(Reason::InvalidSpec))
    };
    let (message, warnings) = world(|it| it.spec.dns_names = Some(vec!["b\u{fc}cher.example.test".into()]));
    assert!(message.contains("\"xn--bcher-kva.example.test\"") && warnings == 1, "{message}");
    let (message, _) = world(|it| {
        it.spec.signature_algorithm = Some(crds::certmanager::SignatureAlgorithm::SHA256WithRSA);
    });
    assert!(message.starts_with("spec.signatureAlgorithm: it does not fit"), "{message}");
    let (message, warnings) = world(|it| {
        let name = |number| format!("number-{number}.a-name-as-long-as-usual.example.test");
        it.spec.dns_names = Some((0..600).map(name).collect());
    });
    assert!(message.contains("but at most 36500 are allowed") && warnings == 1, "{message}");
}

/// Another program takes the Secret away again and again.
#[test]
fn third_issuance_in_a_row_waits() {
    let mut world = issued(|_| {});
    world.pace = Some(Pace::after(None, 1, Cause::Other, world.now));
    world.secret = None;
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().revision, Some(2));
    world.pace = Some(Pace::after(world.pace, 2, Cause::Other, world.now));
    world.secret = None;
    assert!(world.run(5));
    let (ready, issuing) = messages(&world);
    assert!(ready.starts_with("certificates were requested 2 times in a row"), "{ready}");
    assert_eq!((issuing, world.warnings(Reason::IssuedTooOften)), (None, 1));
    assert_eq!(world.requeue(), Requeue::After(Duration::from_mins(5)));
}

/// Two tools disagree about a spec that fails both ways.
#[test]
fn corrections_of_failed_attempts_are_paced() {
    let mut world = World::new(|_| {});
    world.is_paced = true;
    let mut attempts = 0;
    for names in 1..12 {
        assert!(world.run(8));
        if world.has_pending_request() {
            attempts += 1;
            world.fail("no such host");
            assert!(world.run(8));
        }
        world.certificate.spec.dns_names = Some(vec![format!("web-{names}.example.test")]);
        *world.certificate.metadata.generation.get_or_insert_default() += 1;
        world.wait(SignedDuration::from_secs(1));
    }
    assert!((3..=6).contains(&attempts), "{attempts} attempts");
}

/// The CA gives certificates that live no longer than `renewBefore`.
#[test]
fn renew_before_of_the_whole_lifetime_is_named() {
    let mut world = issued(|it| it.spec.renew_before = Some("2159h59m55s".parse().expect("a duration")));
    world.pace = Some(Pace::after(None, 1, Cause::Other, world.now));
    world.pace = Some(Pace::after(world.pace, 2, Cause::Other, world.now));
    world.wait(SignedDuration::from_secs(6));
    assert!(world.run(5));
    let (ready, _) = messages(&world);
    assert!(ready.contains("spec.renewBefore (2159h59m55s)") && ready.contains("(2160h0m0s)"), "{ready}");
    assert!(ready.contains("Shorten spec.renewBefore"), "{ready}");
}

/// Two tools disagree about the spec, so that requests are replaced before they are issued.
#[test]
fn replaced_requests_are_paced() {
    let mut world = World::new(|_| {});
    for names in 1..6 {
        assert!(world.run(5));
        if world.requests.is_empty() {
            break;
        }
        world.pace = Some(Pace::after(world.pace, 1, Cause::Other, world.now));
        world.certificate.spec.dns_names = Some(vec![format!("web-{names}.example.test")]);
    }
    assert!(world.requests.is_empty(), "a request was created each time");
    let (ready, _) = messages(&world);
    assert!(ready.starts_with("certificates were requested 3 times in a row"), "{ready}");
    assert!(matches!(world.requeue(), Requeue::After(_)));
}

/// The issuer chooses its solver by a label that the user has added after the request was created.
#[test]
fn corrected_label_replaces_a_request_that_waits() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.certificate.metadata.labels = Some([("team".to_owned(), "web".to_owned())].into());
    assert!(world.decide().is_ok_and(|it| !deletes(&it)), "it may be issued as it is");
    world.order_reason = Some("no configured challenge solvers".into());
    assert!(world.decide().is_ok_and(|it| deletes(&it)));
}

fn deletes(decision: &Decision) -> bool {
    decision.actions.iter().any(|action| matches!(action, Action::DeleteRequest(_)))
}
