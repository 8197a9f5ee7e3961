//! Whatever happens in whatever order, wherever the process ends or a request conflicts: once the CA issues, everything settles.

use crds::{annotations::request::ISSUE_TEMPORARY_CERTIFICATE, certmanager::RotationPolicy};
use hyper::StatusCode;
use proptest::prelude::*;

use super::{
    world::{Fault, Server, jks_with_password_reference},
    *,
};

/// Something that happens to a Certificate from outside.
#[derive(Clone, Copy, Debug)]
enum Event {
    Issued,
    Failed,
    SecretDeleted,
    SecretRestored,
    SecretEdited,
    SpecEdited,
    RequestDeleted,
    KeyDeleted,
    PasswordDeleted,
    PasswordCreated,
    IssuerReady(bool),
    Server(Server),
    Waited { hours: i64 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Issued),
        1 => Just(Event::Failed),
        1 => Just(Event::SecretDeleted),
        1 => Just(Event::SecretRestored),
        1 => Just(Event::SecretEdited),
        1 => Just(Event::SpecEdited),
        1 => Just(Event::RequestDeleted),
        1 => Just(Event::KeyDeleted),
        1 => Just(Event::PasswordDeleted),
        1 => Just(Event::PasswordCreated),
        1 => any::<bool>().prop_map(Event::IssuerReady),
        1 => server().prop_map(Event::Server),
        3 => prop::sample::select(vec![1, 7, 40 * 24]).prop_map(|hours| Event::Waited { hours }),
    ]
}

fn server() -> impl Strategy<Value = Server> {
    let wait = prop::option::of(prop::sample::select(vec![0, 60, 1_000_000]).prop_map(Duration::from_secs));
    let failures = prop::sample::select(vec![
        StatusCode::NOT_FOUND,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
    ]);
    prop_oneof![
        Just(Server::NoAccount),
        Just(Server::Silent),
        Just(Server::Unsupported),
        prop::sample::select(vec![-24, 48, 80 * 24]).prop_map(|after| Server::Suggests(hours(after))),
        (failures, wait).prop_map(|(status, wait)| Server::Fails(status, wait)),
    ]
}

fn fault() -> impl Strategy<Value = Option<(usize, Fault)>> {
    let fault =
        prop::sample::select(vec![Fault::Crash, Fault::EditSpec, Fault::DeleteSecret, Fault::DeleteRequest]);
    prop::option::of((0_usize..7, fault))
}

/// A Certificate with options that change the way of an issuance.
fn world(temporary: bool, keystore: bool, reuse: bool) -> World {
    World::new(|it| {
        if temporary {
            it.annotations_mut().insert(ISSUE_TEMPORARY_CERTIFICATE.to_owned(), "true".to_owned());
        }
        if keystore {
            it.spec.keystores = Some(jks_with_password_reference());
        }
        if reuse {
            it.spec.private_key.get_or_insert_default().rotation_policy = Some(RotationPolicy::Never);
        }
    })
}

fn happen(world: &mut World, event: Event) {
    match event {
        Event::Issued if world.has_pending_request() => world.issue(),
        Event::Failed if world.has_pending_request() => world.fail("no"),
        Event::SecretDeleted => world.lost_secret = world.secret.take(),
        Event::SecretRestored if world.secret.is_none() => {
            // What was known of the certificate was dropped with it.
            world.last_check = None;
            world.secret = world.lost_secret.take();
        }
        Event::Issued | Event::Failed | Event::SecretRestored => {}
        Event::SecretEdited => world.edit_secret(),
        Event::SpecEdited => world.edit_spec(),
        Event::RequestDeleted => _ = world.requests.pop(),
        Event::KeyDeleted => world.keys.clear(),
        Event::PasswordDeleted => world.password = None,
        Event::PasswordCreated => world.password = Some("a password"),
        Event::IssuerReady(ready) => {
            // What was known is dropped with the account, so the server may be asked again.
            world.last_check = None;
            world.issuer = Some(IssuerView { ready, renewal_information_source: None });
        }
        Event::Server(server) => world.server = server,
        Event::Waited { hours: wait } => world.wait(hours(wait)),
    }
}

/// A state that persists has a message, and something that ends it: a time, or a change that enqueues the Certificate.
fn assert_explained(world: &mut World) -> Result<(), TestCaseError> {
    let ready = world.condition(condition::READY).map(|(status, reason)| (status, reason.to_owned()));
    let Some((status, reason)) = ready else {
        // The first write of the status has not succeeded yet.
        return Ok(());
    };
    prop_assert!(!world.message(condition::READY).is_empty());
    let issuing = condition::is_true(&world.status().conditions, condition::ISSUING);
    if status == ConditionStatus::True && !issuing {
        return Ok(());
    }
    let user_must_act = [Reason::InvalidSpec, Reason::Expired].iter().any(|it| it.as_str() == reason)
        || world.condition(condition::ISSUING).is_some_and(|(_, it)| it == "CannotRegenerateKey");
    let event = world.waiting_for.is_some()
        || user_must_act
        || world.requests.last().is_some_and(|it| it.status.is_none());
    let decision = world.decide();
    // What was lost with a lagging cache is done again by the change that follows.
    let acts =
        decision.as_ref().is_ok_and(|it| it.actions.iter().any(|it| !matches!(it, Action::WriteStatus(_))));
    let requeue = decision.map(|decision| decision.requeue);
    prop_assert!(
        event || acts || matches!(requeue, Ok(Requeue::After(_)) | Err(_)),
        "nothing ends {reason} {:?}: {requeue:?}",
        world.message(condition::READY)
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// At the end there is a good Secret, one request, no key of the past, and nothing to do. On the way, no action uses a key that is not
    /// stored, no server is asked too often, and no reconcile requeues immediately without having written something.
    #[test]
    fn every_history_ends_with_a_good_secret(
        (temporary, keystore, reuse) in any::<(bool, bool, bool)>(),
        server in server(),
        steps in prop::collection::vec((event(), fault(), any::<bool>()), 0..12),
    ) {
        let mut world = world(temporary, keystore, reuse);
        world.server = server;
        for (event, fault, lags) in steps {
            (world.fault, world.lags) = (fault, lags);
            if world.run(8) {
                assert_explained(&mut world)?;
            }
            happen(&mut world, event);
        }
        (world.fault, world.password, world.server) = (None, Some("a password"), Server::Unsupported);
        // Longer than any backoff, and then until the renewal, which also clears a failure that was no longer worth a retry.
        for wait in [33, 33, 33, 33, 61 * 24] {
            world.wait(hours(wait));
            world.run(8);
            if world.has_pending_request() {
                world.issue();
            }
        }
        prop_assert!(world.run(8), "it settles");
        prop_assert_eq!(&world.waiting_for, &None);
        prop_assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
        prop_assert_eq!(world.condition(condition::ISSUING), None);
        prop_assert!(world.requests.len() <= 1 && world.keys.is_empty());
        let leaf = world.leaf().expect("a leaf");
        prop_assert_eq!(Some(&leaf.dns_names), world.certificate.spec.dns_names.as_ref());
    }
}
