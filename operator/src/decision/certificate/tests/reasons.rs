//! Each reason of a Certificate, as it comes about. Next: `reason/tests.rs`, which makes a page of them.

use crds::{
    annotations::secret::{CERTIFICATE_NAME, TLS_CRT, TLS_KEY},
    certmanager::{
        AdditionalOutputFormat, OutputFormat, Renewal, RenewalPolicy, RenewalWindow, SecretTemplate,
    },
    fixtures,
};
use hyper::StatusCode;
use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::{world::Server, *};
use crate::reason::tests::{CERTIFICATE, Example, Place};

/// The reasons that say what is about to happen, or what the operator does without, and not what keeps a Certificate from its
/// desired state.
const HARMLESS: [Reason; 2] = [Reason::ARIError, Reason::WindowError];

pub(crate) fn examples() -> Vec<Example> {
    scenarios().into_iter().map(|(reason, world)| example(reason, &world)).collect()
}

fn example(reason: Reason, world: &World) -> Example {
    let mut found = Vec::new();
    for (place, type_) in [(Place::Ready, condition::READY), (Place::Issuing, condition::ISSUING)] {
        let condition = condition::find(&world.status().conditions, type_);
        let of_reason = condition.filter(|it| it.reason.as_deref() == Some(reason.as_str()));
        found.extend(of_reason.map(|it| (place, it.message.clone().expect("a message"))));
    }
    for note in world.notes.iter().filter(|note| note.reason == reason) {
        let place = if note.warning { Place::Warning } else { Place::Event };
        found.push((place, note.message.clone()));
        // What README promises about the STATUS column.
        let ready = world.message(condition::READY);
        let cause = problem::cause(&note.message);
        assert!(
            !note.warning || HARMLESS.contains(&reason) || ready.contains(cause),
            "{reason:?}: {note:?} is not in {ready:?}"
        );
    }
    let rewrites = world.rewrites.iter().filter(|why| why.reason == reason);
    found.extend(rewrites.map(|why| (Place::Log, why.message.clone())));
    Example::new(reason, CERTIFICATE, found)
}

fn scenarios() -> Vec<(Reason, World)> {
    let mut all = secret_states();
    all.extend(spec_changes());
    all.extend(issuances());
    all.extend(rewrites());
    all
}

/// A world after a change, once everything that follows has happened.
fn after(mut world: World, change: impl FnOnce(&mut World)) -> World {
    change(&mut world);
    assert!(world.run(8), "it settles");
    world
}

fn with_data(name: &str, value: &[u8]) -> World {
    after(issued(|_| {}), |it| {
        let data = it.secret.as_mut().and_then(|secret| secret.data.as_mut()).expect("data");
        data.insert(name.to_owned(), ByteString(value.to_vec()));
    })
}

fn secret_states() -> Vec<(Reason, World)> {
    let foreign = Secret {
        data: Some([(TLS_CRT.to_owned(), ByteString(b"theirs".to_vec()))].into()),
        ..Secret::default()
    };
    let rival = fixtures::certificate("api", |it| it.spec.secret_name = "web".into());
    vec![
        (Reason::Ready, issued(|_| {})),
        (Reason::DoesNotExist, after(World::new(|_| {}), |_| {})),
        (
            Reason::MissingData,
            after(World::new(|_| {}), |it| {
                let mut secret = Secret::default();
                secret.annotations_mut().insert(CERTIFICATE_NAME.into(), "web".into());
                it.secret = Some(secret);
            }),
        ),
        (Reason::InvalidKeyPair, with_data(TLS_KEY, b"edited by hand")),
        (Reason::InvalidCertificate, with_data(TLS_CRT, b"edited by hand")),
        (Reason::ForeignSecret, after(World::new(|_| {}), |it| it.secret = Some(foreign))),
        (Reason::IncorrectCertificate, after(World::new(|_| {}), |it| it.rivals = vec![Arc::new(rival)])),
    ]
}

fn spec_changes() -> Vec<(Reason, World)> {
    let disabled = Renewal { policy: Some(RenewalPolicy::Disabled), windows: None };
    vec![
        (
            Reason::IncorrectIssuer,
            after(issued(|_| {}), |it| it.certificate.spec.issuer_ref.name = "staging".into()),
        ),
        (
            Reason::RequestChanged,
            after(issued(|_| {}), |it| {
                it.certificate.spec.dns_names = Some(vec!["www.example.test".into()]);
            }),
        ),
        (
            Reason::SecretMismatch,
            after(issued(|_| {}), |it| {
                it.certificate.spec.private_key.get_or_insert_default().size = Some(384);
            }),
        ),
        (
            Reason::InvalidSpec,
            after(World::new(|_| {}), |it| it.certificate.spec.ip_addresses = Some(vec!["web".into()])),
        ),
        (Reason::Expired, after(issued(|it| it.spec.renewal = Some(disabled)), |it| it.wait(hours(91 * 24)))),
        (
            Reason::CannotRegenerateKey,
            after(issued(|_| {}), |it| {
                let key = it.certificate.spec.private_key.get_or_insert_default();
                (key.rotation_policy, key.size) = (Some(crds::certmanager::RotationPolicy::Never), Some(384));
            }),
        ),
    ]
}

fn requested() -> World {
    after(World::new(|_| {}), |_| {})
}

fn concluded(type_: &'static str, message: &'static str) -> World {
    after(requested(), |it| {
        it.complete(|status| {
            status.conditions.push(condition_of(type_, ConditionStatus::True, "Policy", message));
        });
    })
}

fn issuances() -> Vec<(Reason, World)> {
    let window = RenewalWindow {
        cron: Some("every night".to_owned()),
        timezone: None,
        window_duration: Some("2h".parse().expect("a duration")),
    };
    let windows = Renewal { policy: None, windows: Some(vec![window]) };
    vec![
        (Reason::Issuing, issued(|_| {})),
        (
            Reason::Pending,
            after(requested(), |it| {
                it.order_reason = Some(
                    "web.example.test: Waiting for HTTP-01 challenge propagation: http://web.example.test responds with \
                     status 404: the ingress controller does not route to the solver yet"
                        .into(),
                );
            }),
        ),
        (Reason::Renewing, after(issued(|_| {}), |it| it.wait(hours(60 * 24)))),
        (
            Reason::Failed,
            after(requested(), |it| {
                it.fail("order is in \"invalid\" state: web.example.test: no A record was found");
            }),
        ),
        (Reason::Denied, concluded(condition::DENIED, "web.example.test is not allowed in this namespace")),
        (Reason::InvalidRequest, concluded(condition::INVALID_REQUEST, "the CSR has a name too many")),
        (
            Reason::IssuedTooOften,
            after(issued(|_| {}), |it| {
                it.pace = Some(Pace::after(None, 1, Cause::Other, it.now));
                it.pace = Some(Pace::after(it.pace, 2, Cause::Other, it.now));
                it.secret = None;
            }),
        ),
        (
            Reason::ARIError,
            after(issued(|_| {}), |it| {
                it.server = Server::Fails(StatusCode::INTERNAL_SERVER_ERROR, None);
                it.wait(hours(7));
            }),
        ),
        (Reason::WindowError, issued(|it| it.spec.renewal = Some(windows))),
    ]
}

fn rewrites() -> Vec<(Reason, World)> {
    let template = SecretTemplate {
        labels: Some([("team".to_owned(), "web".to_owned())].into()),
        ..SecretTemplate::default()
    };
    let mut owned = issued(|_| {});
    owned.set_secret_owner_ref = true;
    owned.reconcile().expect("the Secret is written");
    let format = AdditionalOutputFormat { type_: OutputFormat::DER };
    vec![
        (Reason::SecretOwnerRefMismatch, owned),
        (Reason::SecretManagedMetadataMismatch, after(issued(|_| {}), World::edit_secret)),
        (
            Reason::SecretTemplateMismatch,
            after(issued(|_| {}), |it| it.certificate.spec.secret_template = Some(template)),
        ),
        (
            Reason::AdditionalOutputFormatsMismatch,
            after(issued(|_| {}), |it| it.certificate.spec.additional_output_formats = Some(vec![format])),
        ),
    ]
}
