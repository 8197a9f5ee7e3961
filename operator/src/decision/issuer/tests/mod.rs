//! Issuers, one decision at a time. Next: `model.rs`, where decisions and their effects run against each other.

mod ca;
mod model;
mod world;

use crds::{acme::AcmeIssuerStatus, fixtures};

use super::*;
use crate::{acme::MacKeyError, decision::testing::Failure};

const START: Timestamp = Timestamp::UNIX_EPOCH;

fn acme(change: impl FnOnce(&mut AcmeIssuer)) -> AcmeIssuer {
    let mut acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    acme.server = "https://ca.example.test/dir".into();
    acme.email = Some("Admin@example.test".into());
    change(&mut acme);
    acme
}

fn registered() -> IssuerStatus {
    IssuerStatus {
        acme: Some(AcmeIssuerStatus {
            last_private_key_hash: Some("hash".into()),
            last_registered_email: Some("admin@example.test".into()),
            uri: Some("https://ca.example.test/acct/1".into()),
        }),
        conditions: vec![Condition {
            last_transition_time: None,
            message: None,
            observed_generation: Some(1),
            reason: Some("ACMEAccountRegistered".into()),
            status: ConditionStatus::True,
            type_: condition::READY.into(),
        }],
    }
}

fn key() -> KeyView {
    KeyView::Present { hash: "hash".into() }
}

fn view<'a>(acme: &'a AcmeIssuer, status: &'a IssuerStatus, key: &'a KeyView) -> View<'a> {
    View {
        uid: "1",
        generation: Some(1),
        acme,
        status,
        key,
        mac_key: None,
        account_lost: false,
        progress: None,
        now: START,
    }
}

fn ready(status: &IssuerStatus) -> (ConditionStatus, &str, &str) {
    let ready = condition::find(&status.conditions, condition::READY).expect("a condition");
    (ready.status, ready.reason.as_deref().unwrap_or_default(), ready.message.as_deref().unwrap_or_default())
}

#[test]
fn known_account_is_used_until_something_changes() {
    let (acme_, status, key) = (acme(|_| {}), registered(), key());
    let unchanged = view(&acme_, &status, &key);
    assert_eq!(decide(&unchanged), Step::UseAccount("https://ca.example.test/acct/1".into()));
    for changed in
        [acme(|it| it.server = "https://other.example.test/dir".into()), acme(|it| it.email = None)]
    {
        assert_eq!(decide(&View { acme: &changed, ..unchanged }), Step::Register);
    }
    let other = KeyView::Present { hash: "other".into() };
    assert_eq!(decide(&View { key: &other, ..unchanged }), Step::Register);
    assert_eq!(decide(&View { generation: Some(2), ..unchanged }), Step::Register);
    assert_eq!(decide(&View { status: &IssuerStatus::default(), ..unchanged }), Step::Register);
    assert_eq!(decide(&View { account_lost: true, ..unchanged }), Step::Register);
}

#[test]
fn key_is_generated_unless_that_is_disabled() {
    let (acme_, status, absent) = (acme(|_| {}), registered(), KeyView::Absent);
    assert_eq!(decide(&view(&acme_, &status, &absent)), Step::GenerateKey);
    let disabled = acme(|it| it.disable_account_key_generation = Some(true));
    let Step::Refuse(outcome) = decide(&view(&disabled, &status, &absent)) else { panic!("it is generated") };
    assert_eq!(ready(&outcome.status).1, "ErrVerifyACMEAccount");
    assert_eq!(outcome.requeue, Requeue::After(LONGEST_UNWATCHED));
}

/// An endless loop of keys that are generated and not stored would be the alternative.
#[test]
fn secret_without_the_data_key_is_refused() {
    let (acme, status) = (acme(|_| {}), IssuerStatus::default());
    for (key, expected) in [
        (
            KeyView::Empty,
            "Account private key is invalid: the Secret \"account-key\" has no data under \"tls.key\"",
        ),
        (
            KeyView::Invalid("not PEM".into()),
            "Account private key is invalid: the Secret \"account-key\": not PEM",
        ),
    ] {
        let Step::Refuse(outcome) = decide(&view(&acme, &status, &key)) else { panic!("{key:?} is taken") };
        let (status, reason, message) = ready(&outcome.status);
        assert_eq!((status, reason), (ConditionStatus::False, "ErrVerifyACMEAccount"));
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn unusable_server_is_refused_with_advice() {
    for (server, expected) in [
        ("http://ca.example.test/dir", "InvalidURL"),
        ("ca", "InvalidURL"),
        ("https://acme-v01.api.letsencrypt.org/directory", "InvalidConfig"),
    ] {
        let acme = acme(|it| it.server = server.into());
        let (status, key) = (registered(), key());
        let Step::Refuse(outcome) = decide(&view(&acme, &status, &key)) else { panic!("{server} is taken") };
        let (_, reason, message) = ready(&outcome.status);
        assert_eq!(reason, expected);
        assert!(message.contains(server) && message.contains("https://acme-v02"), "{message}");
    }
}

#[test]
fn oversized_ca_bundle_is_refused() {
    let (status, key) = (registered(), key());
    let decided = |bytes: usize| {
        let acme = acme(|it| it.ca_bundle = Some(k8s_openapi::ByteString(vec![b'a'; bytes])));
        decide(&view(&acme, &status, &key))
    };
    assert!(matches!(decided(64 << 10), Step::UseAccount(_)));
    let Step::Refuse(outcome) = decided((64 << 10) + 1) else { panic!("it is used") };
    let (_, reason, message) = ready(&outcome.status);
    assert_eq!(reason, "InvalidConfig");
    assert!(message.starts_with("spec.acme.caBundle is longer than 65536 bytes. Keep only"), "{message}");
}

/// Each Challenge has a copy of its solver, and is compared with all of them.
#[test]
fn oversized_solvers_are_refused() {
    let (status, key) = (registered(), key());
    let decided = |solvers: usize, names: usize| {
        let mut solver = fixtures::ingress_solver("nginx");
        let dns_names = Some(vec!["n".repeat(97); names]);
        solver.selector = Some(crds::acme::Selector { dns_names, ..crds::acme::Selector::default() });
        let acme = acme(|it| it.solvers = Some(vec![solver; solvers]));
        decide(&view(&acme, &status, &key))
    };
    assert!(matches!(decided(4, 600), Step::UseAccount(_)));
    for (solvers, names, position) in [(1, 660, 0), (5, 600, 4)] {
        let Step::Refuse(outcome) = decided(solvers, names) else { panic!("they are used") };
        let (_, reason, message) = ready(&outcome.status);
        assert_eq!(reason, "InvalidConfig");
        let words = format!("spec.acme.solvers[{position}] is too long: a solver may have 65536 bytes");
        assert!(message.starts_with(&words), "{message}");
    }
}

/// Its orders would all fail.
#[test]
fn account_that_is_not_valid_is_reported() {
    let (acme, status, key) = (acme(|_| {}), registered(), key());
    let view = view(&acme, &status, &key);
    let not_valid = AccountError::NotValid {
        url: "https://ca.example.test/acct/1".into(),
        status: crate::acme::AccountStatus::Deactivated,
        secret: "account-key".into(),
    };
    let unauthorized = AccountError::Register(Failure::problem("unauthorized", 403).error());
    for (error, cause) in [
        (not_valid, "acct/1 is deactivated"),
        (unauthorized, "403 urn:ietf:params:acme:error:unauthorized: the detail"),
    ] {
        let outcome = on_account_error(&view, &error);
        let (status, reason, message) = ready(&outcome.status);
        assert_eq!((status, reason), (ConditionStatus::False, "ErrRegisterACMEAccount"));
        assert!(message.contains(cause), "{message}");
        assert!(
            message.contains("delete the Secret \"account-key\" with its private key to have another"),
            "{message}"
        );
        assert_eq!(outcome.requeue, Requeue::After(RETRY_REFUSED_AFTER));
    }
}

#[test]
fn failed_attempts_are_retried_later_each_time() {
    let (acme, status, key) = (acme(|_| {}), IssuerStatus::default(), key());
    let view = view(&acme, &status, &key);
    let wait = |failure: Failure, failures| {
        let progress = IssuerProgress { generation: Some(1), mac_key: None, failures, next_attempt: START };
        let view = View { progress: Some(progress), ..view };
        let outcome = on_account_error(&view, &AccountError::Register(failure.error()));
        let Requeue::After(wait) = outcome.requeue else { panic!("{outcome:?}") };
        let next = outcome.progress.expect("it is remembered");
        assert_eq!((next.failures, next.next_attempt), (failures + 1, START + wait));
        wait.as_secs()
    };
    let unavailable = Failure::problem("serverInternal", 500);
    assert!((12..=16).contains(&wait(unavailable, 0)));
    assert!((24..=32).contains(&wait(unavailable, 1)));
    assert!((225..=300).contains(&wait(unavailable, 50)));
    let limited = |seconds| Failure::Page { status: 429, retry_after: Some(seconds) };
    assert_eq!(wait(limited(90), 0), 90);
    assert!(
        wait(limited(1), 50) >= 225,
        "retries of a server that always asks for one second do not back off"
    );
    assert_eq!(wait(Failure::problem("unauthorized", 403), 0), 300);
}

#[test]
fn early_events_repeat_no_request() {
    let (acme, status, key) = (acme(|_| {}), IssuerStatus::default(), key());
    let progress = IssuerProgress {
        generation: Some(1),
        mac_key: None,
        failures: 1,
        next_attempt: START + Duration::from_secs(9),
    };
    let failed = View { progress: Some(progress), ..view(&acme, &status, &key) };
    assert_eq!(decide(&failed), Step::Wait(Duration::from_secs(9)));
    assert_eq!(decide(&View { now: progress.next_attempt, ..failed }), Step::Register);
    assert_eq!(decide(&View { generation: Some(2), ..failed }), Step::Register, "the spec has changed");
}

#[test]
fn one_event_is_published_for_each_cause() {
    let (acme, key) = (acme(|_| {}), key());
    let fail = |status: &IssuerStatus, failure: Failure| {
        on_account_error(&view(&acme, status, &key), &AccountError::Register(failure.error()))
    };
    let limited = Failure::Page { status: 429, retry_after: Some(90) };
    let first = fail(&IssuerStatus::default(), limited);
    assert!(ready(&first.status).2.ends_with("; the next attempt is at 1970-01-01T00:01:30Z"));
    assert!(!first.event.expect("an event").message.contains("next attempt"));
    assert_eq!(fail(&first.status, limited).event, None);
    let other = fail(&first.status, Failure::problem("userActionRequired", 403)).event.expect("an event");
    assert_eq!(
        other.message,
        "Failed to register ACME account: 403 urn:ietf:params:acme:error:userActionRequired: the detail"
    );
}

#[test]
fn rejected_external_account_comes_with_advice() {
    let binding = crds::acme::ExternalAccountBinding { key_id: "kid".into(), ..Default::default() };
    let bound = acme(|it| it.external_account_binding = Some(binding.clone()));
    let unbound = acme(|_| {});
    let (status, key) = (IssuerStatus::default(), key());
    let message = |acme: &AcmeIssuer, type_| {
        let error = AccountError::Register(Failure::problem(type_, 403).error());
        ready(&on_account_error(&view(acme, &status, &key), &error).status).2.to_owned()
    };
    assert!(message(&unbound, "externalAccountRequired").contains("set spec.acme.externalAccountBinding"));
    assert!(message(&bound, "unauthorized").contains("gave out together"));
    assert!(
        message(&unbound, "unauthorized")
            .contains(":unauthorized: the detail. If the account was deactivated, delete")
    );
    assert!(
        message(&unbound, "badCSR").ends_with(":badCSR: the detail; the next attempt is within 5 minutes")
    );
}

#[test]
fn external_account_needs_its_secret() {
    let binding = crds::acme::ExternalAccountBinding {
        key_id: "kid".into(),
        key_secret_ref: crds::meta::SecretKeySelector { name: "mac".into(), key: Some("secret".into()) },
        ..Default::default()
    };
    let bound = acme(|it| it.external_account_binding = Some(binding.clone()));
    assert!(matches!(external_account(&acme(|_| {}), "a", None), Ok(None)));
    assert!(matches!(external_account(&bound, "a", Some(b"c2VjcmV0LXNlY3JldA")), Ok(Some(_))));
    let error = external_account(&bound, "a", None).expect_err("there is no Secret").to_string();
    assert!(
        error.starts_with(
            "Failed to register ACME account: the Secret \"mac\" in the namespace \"a\" has no value under \"secret\". "
        ),
        "{error}"
    );
    let error = external_account(&bound, "a", Some(b"?")).expect_err("it is not base64");
    assert!(
        matches!(error, AccountError::BindingSecret(BindingSecretError::MacKey(MacKeyError::NotBase64))),
        "{error}"
    );
}

#[test]
fn contact_is_updated_where_it_differs() {
    let contact = |address: &str| vec![format!("mailto:{address}")];
    let acme = acme(|_| {});
    assert_eq!(contact_urls(&acme), contact("admin@example.test"));
    let with = |last_registered_email: Option<&str>| IssuerStatus {
        acme: Some(AcmeIssuerStatus {
            last_registered_email: last_registered_email.map(ToOwned::to_owned),
            ..AcmeIssuerStatus::default()
        }),
        ..IssuerStatus::default()
    };
    for (status, at_ca, expected) in [
        (registered(), contact("admin@example.test"), false),
        (registered(), vec![], false),
        (registered(), contact("old@example.test"), true),
        (with(Some("old@example.test")), vec![], true),
        // The issuer had no address before.
        (with(None), vec![], true),
        (IssuerStatus::default(), vec![], false),
        (IssuerStatus::default(), contact("old@example.test"), true),
    ] {
        let uri = "https://ca.example.test/acct/1";
        assert_eq!(updates_contact(&acme, &status, uri, &at_ca), expected, "{status:?} {at_ca:?}");
    }
    // The key was replaced by one of an account that was registered long ago, with another contact.
    assert!(updates_contact(&acme, &registered(), "https://ca.example.test/acct/2", &[]));
}
