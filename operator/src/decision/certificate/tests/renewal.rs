//! When a certificate is renewed: by the formula, in maintenance windows, and as the issuer's server suggests.

use crds::{
    annotations::request::REPLACES,
    certmanager::{Renewal, RenewalPolicy, RenewalWindow},
};
use hyper::StatusCode;

use super::{world::Server, *};

#[test]
fn due_certificate_is_renewed_and_stays_ready() {
    let mut world = issued(|_| {});
    assert!(matches!(world.requeue(), Requeue::After(_)));
    world.wait(hours(60 * 24));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::True, "Renewing")));
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().revision, Some(2));
    assert_eq!(world.requests.len(), 1, "the history limit is one");
}

/// The API server may always reject the deletion of what a process left behind. That must not hold up a renewal.
#[test]
fn past_key_is_deleted_after_everything_else() {
    let mut world = issued(|_| {});
    world.issuer = None;
    let past = past_key_name(&world.certificate).expect("an issued revision");
    let key = Arc::new(world.read_key().expect("a key"));
    world.keys.extend([past.clone(), next_key_name(&world.certificate)].map(|name| (name, Arc::clone(&key))));
    world.wait(hours(60 * 24));
    let actions = world.decide().expect("nothing is missing").actions;
    assert!(actions.iter().any(|action| matches!(action, Action::CreateRequest(_))));
    assert!(matches!(actions.last(), Some(Action::DeleteNextKey(name)) if *name == past));
}

/// A certificate that is not renewed is reported when it expires, and does not requeue immediately without end.
#[test]
fn expired_certificate_settles() {
    let mut world =
        issued(|it| it.spec.renewal = Some(Renewal { policy: Some(RenewalPolicy::Disabled), windows: None }));
    let expired = hours(90 * 24) + SignedDuration::from_secs(1);
    assert_eq!(world.requeue(), Requeue::After(expired.unsigned_abs()));
    world.wait(expired);
    assert!(world.run(5));
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::False, "Expired")));
    assert_eq!(world.requeue(), Requeue::Resync);
}

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
fn renewal_waits_for_its_window() {
    let mut world = issued_with_window("0 3 * * 0");
    // The first Sunday after 2 March.
    assert_eq!(world.renewal_time(), "2026-03-08T03:00:00Z");
    world.wait(hours(61 * 24));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), None);
    world.wait(hours(6 * 24));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::True, "Renewing")));
    assert_eq!(world.warnings(Reason::WindowError), 0);
}

#[test]
fn unusable_window_is_reported_once_and_ignored() {
    for cron in ["whenever", "0 3 30 2 *"] {
        let mut world = issued_with_window(cron);
        assert!(world.run(5));
        assert_eq!(world.warnings(Reason::WindowError), 1, "{cron}: {:?}", world.notes);
        assert_eq!(world.renewal_time(), "2026-03-02T00:00:00Z");
    }
}

/// The suggested window takes precedence over the formula, belongs to one certificate, and is named in the request for the next one.
#[test]
fn suggested_window_replaces_the_formula() {
    let mut world = issued(|_| {});
    world.server = Server::Suggests(hours(48));
    world.wait(hours(7));
    assert!(world.run(5));
    assert!(world.renewal_time().starts_with("2026-01-03T00:"), "{}", world.renewal_time());
    world.wait(hours(48));
    assert!(world.run(5));
    assert_eq!(world.condition(condition::ISSUING), Some((ConditionStatus::True, "Renewing")));
    world.issue();
    assert!(world.run(5));
    assert!(world.status().acme.is_none());
}

#[test]
fn request_names_the_replaced_certificate() {
    let replaces = |world: &mut World| {
        world.wait(hours(60 * 24));
        assert!(world.run(5));
        assert_eq!(world.requests.len(), 2);
        world.requests.last().and_then(|request| request.annotations().get(REPLACES).cloned())
    };
    let mut world = issued(|_| {});
    let identifier =
        world.secret_view().as_ref().and_then(SecretView::leaf).and_then(LeafCertificate::ari_id);
    assert!(identifier.is_some());
    assert_eq!(replaces(&mut world), identifier);
    let mut world = issued(|_| {});
    world.certificate.spec.dns_names = Some(vec!["other.example.test".into()]);
    assert_eq!(replaces(&mut world), None, "one for other names is another certificate");
    let mut world = issued(|_| {});
    world.issuer = None;
    assert_eq!(replaces(&mut world), None, "the issuer is not an ACME issuer");
}

#[test]
fn failed_check_is_reported_and_retried() {
    let mut world = issued(|_| {});
    world.server = Server::Suggests(hours(48));
    world.wait(hours(7));
    assert!(world.run(5));
    let suggested = world.renewal_time();
    for (status, retry_after, next) in [
        (StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_hours(10)), 9..=10),
        (StatusCode::TOO_MANY_REQUESTS, None, 5..=6),
        (StatusCode::NOT_FOUND, Some(Duration::from_hours(10)), 5..=6),
    ] {
        world.server = Server::Fails(status, retry_after);
        world.notes.clear();
        world.wait(hours(10));
        assert!(world.run(5));
        assert_eq!(world.warnings(Reason::ARIError), 1, "{status}");
        let ari = world.status().acme.as_ref().and_then(|acme| acme.ari.as_ref()).expect("information");
        assert!(ari.last_error.is_some());
        let wait = ari.next_check.as_ref().expect("a time").0.duration_since(world.now);
        assert!(next.contains(&wait.as_hours()), "{status}: {wait}");
        assert_eq!(world.renewal_time(), suggested, "the last window stays in effect");
    }
}

/// Neither a server without renewal information, nor one that does not respond, nor an issuer that can't be used is asked without end.
#[test]
fn unavailable_check_is_retried_in_an_hour() {
    for server in [Server::Unsupported, Server::NoAccount, Server::Silent] {
        let mut world = issued(|_| {});
        world.server = server;
        world.wait(hours(7));
        assert!(world.decide().is_err(), "a check is due");
        assert!(world.run(5));
        assert!(world.status().acme.is_none());
        let requeue = world.reconcile().expect("no fault");
        assert_eq!(requeue, Requeue::After(Duration::from_hours(1)), "{server:?}");
        // An issuer that is not ready is not asked.
        world.issuer = Some(IssuerView { ready: false, renewal_information_source: None });
        assert!(matches!(world.requeue(), Requeue::After(wait) if wait > Duration::from_hours(24)));
    }
}

/// An issuer that is not ready for a moment must not cost what its server has said, such as a window for a revoked certificate.
#[test]
fn renewal_information_outlasts_an_unready_issuer() {
    let mut world = issued(|_| {});
    world.server = Server::Suggests(hours(48));
    world.wait(hours(7));
    assert!(world.run(5));
    let known = world.status().acme.clone();
    assert!(known.is_some());
    world.issuer = Some(IssuerView { ready: false, renewal_information_source: None });
    assert!(world.run(5));
    assert_eq!(world.status().acme, known);
    world.issuer = None;
    assert!(world.run(5));
    assert_eq!(world.status().acme, known);
}
