//! Every reason that the operator reports, as it comes about, for `docs/REASONS.md`: where it is seen, with which message.
//!
//! A reason that nothing reports, or without a message, fails a test. Next: `decision/certificate/tests/reasons.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
    time::Duration,
};

use crds::{
    acme::{AcmeIssuer, OrderStatus, State},
    certmanager::{CertificateRequest, IssuerStatus},
    condition, fixtures,
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::networking::v1::{Ingress, IngressSpec},
};
use kube::{ResourceExt, core::Status};
use strum::{EnumMessage, IntoEnumIterator};

use super::Reason;
use crate::{
    acme::Phase,
    decision::{
        certificate, issuer,
        problem::{self, Problem},
        request, shim,
        testing::Failure,
    },
    error::ReconcileError,
    objects::{EventNote, metadata},
    pki::{self, Csr, CsrRequest, Curve, KeyKind, PrivateKey},
};

pub(crate) const CERTIFICATE: &str = "Certificates";
const REQUEST: &str = "CertificateRequests";
const ISSUER: &str = "Issuers and ClusterIssuers";
const INGRESS: &str = "Ingresses";
const ANY: &str = "All kinds";

/// Where a reason is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
pub(crate) enum Place {
    #[strum(to_string = "`Ready`")]
    Ready,
    #[strum(to_string = "`Issuing`")]
    Issuing,
    #[strum(to_string = "event")]
    Event,
    #[strum(to_string = "Warning")]
    Warning,
    #[strum(to_string = "log")]
    Log,
}

/// A reason as it was reported.
pub(crate) struct Example {
    reason: Reason,
    kind: &'static str,
    places: BTreeSet<Place>,
    message: String,
}

impl Example {
    /// `found` is where it was reported, and with which message.
    pub(crate) fn new(reason: Reason, kind: &'static str, found: Vec<(Place, String)>) -> Self {
        let message = found.first().map(|(_, message)| message.clone());
        let message = message.unwrap_or_else(|| panic!("{reason:?} is not reported"));
        assert!(!message.is_empty() && !message.contains('\n'), "{reason:?}: {message:?}");
        assert!(!message.contains("Some(") && !message.contains(" { "), "Debug text: {message}");
        Self { reason, kind, places: found.into_iter().map(|(place, _)| place).collect(), message }
    }

    fn of_note(kind: &'static str, note: &EventNote) -> Self {
        let place = if note.warning { Place::Warning } else { Place::Event };
        Self::new(note.reason, kind, vec![(place, note.message.clone())])
    }
}

fn examples() -> Vec<Example> {
    let mut all = certificate::tests::reasons::examples();
    all.extend(of_requests());
    all.extend(of_issuers());
    all.extend(of_ingresses());
    all.extend(of_errors());
    let why = "it has 300000 bytes, and the limit is 262144. Remove what it does not need, or split it";
    all.push(Example::of_note(ANY, &problem::unreadable("Ingress", why)));
    all
}

fn of_requests() -> Vec<Example> {
    let acme = acme(|_| {});
    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
    let hosts = vec!["web.example.test".to_owned()];
    let request = |hosts: &[String]| {
        let csr = CsrRequest { dns_names: hosts.to_vec(), ..CsrRequest::default() };
        let csr = csr.sign_pem(&key).expect("a CSR");
        fixtures::certificate_request("web-1", |it| {
            (it.metadata.namespace, it.metadata.uid) = (Some("a".into()), Some("1".into()));
            it.spec.request = ByteString(csr.into_bytes());
        })
    };
    let decided = |reason: Reason, request: &CertificateRequest, status: Option<OrderStatus>| {
        let order = status.map(|status| {
            fixtures::order("web-1-1234", |it| {
                it.metadata.owner_references = metadata::controller(request).map(|owner| vec![owner]);
                it.spec.request = request.spec.request.clone();
                it.status = Some(status);
            })
        });
        let actions = request::decide(&request::View {
            request,
            csr: Csr::from_pem(&request.spec.request.0).as_ref(),
            is_orphan: false,
            issuer: request::IssuerView::Acme { acme: &acme, account: None, ready: true, message: None },
            order: order.as_ref(),
            pace: None,
            problem: None,
            auto_approve: true,
            now: Timestamp::UNIX_EPOCH,
        });
        let found = actions.iter().filter_map(|action| match action {
            request::Action::WriteStatus(status) => {
                let ready = condition::find(&status.conditions, condition::READY)?;
                let is_it = ready.reason.as_deref() == Some(reason.as_str());
                is_it.then(|| (Place::Ready, ready.message.clone().unwrap_or_default()))
            }
            request::Action::Publish(note) if note.reason == reason => {
                Some((Place::Warning, note.message.clone()))
            }
            _ => None,
        });
        Example::new(reason, REQUEST, found.collect())
    };
    let chain = pki::testing::issue(&key, &hosts, Timestamp::UNIX_EPOCH, jiff::SignedDuration::from_hours(1));
    let valid = OrderStatus {
        state: Some(State::Valid),
        certificate: Some(ByteString(chain.into_bytes())),
        ..OrderStatus::default()
    };
    let invalid = OrderStatus {
        state: Some(State::Invalid),
        reason: Some("web.example.test: no A record was found".into()),
        ..OrderStatus::default()
    };
    vec![
        decided(Reason::Pending, &request(&hosts), None),
        decided(Reason::Issued, &request(&hosts), Some(valid)),
        decided(Reason::Failed, &request(&hosts), Some(invalid.clone())),
        decided(Reason::OrderFailed, &request(&hosts), Some(invalid)),
        decided(Reason::InvalidOrder, &request(&[]), None),
    ]
}

fn acme(change: impl FnOnce(&mut AcmeIssuer)) -> AcmeIssuer {
    let mut acme = fixtures::issuer("letsencrypt", |_| {}).spec.acme.expect("an ACME issuer");
    acme.server = "https://ca.example.test/directory".into();
    change(&mut acme);
    acme
}

fn of_issuers() -> Vec<Example> {
    let (acme_, blank) = (acme(|_| {}), IssuerStatus::default());
    let key = issuer::KeyView::Present { hash: "hash".into() };
    let view = issuer::View {
        uid: "1",
        generation: Some(1),
        acme: &acme_,
        status: &blank,
        key: &key,
        mac_key: None,
        account_lost: false,
        progress: None,
        now: Timestamp::UNIX_EPOCH,
    };
    let of_status = |reason: Reason, status: &IssuerStatus, note: Option<EventNote>| {
        let ready = condition::find(&status.conditions, condition::READY).expect("a condition");
        let mut found = Vec::new();
        if ready.reason.as_deref() == Some(reason.as_str()) {
            found.push((Place::Ready, ready.message.clone().unwrap_or_default()));
        }
        found.extend(note.filter(|it| it.reason == reason).map(|it| (Place::Warning, it.message)));
        Example::new(reason, ISSUER, found)
    };
    let refused = |reason: Reason, view: &issuer::View<'_>| {
        let issuer::Step::Refuse(outcome) = issuer::decide(view) else { panic!("{reason:?}") };
        of_status(reason, &outcome.status, outcome.event)
    };
    let failed = |reason: Reason, error: &issuer::AccountError| {
        let outcome = issuer::on_account_error(&view, error);
        of_status(reason, &outcome.status, outcome.event)
    };
    let unreachable = Failure::Unreachable(Phase::Connecting).error();
    let registered = issuer::on_registered(&view, "https://ca.example.test/account/1", "hash".into());
    let again = issuer::View { status: &registered.status, ..view };
    let replaced = issuer::on_registered(&again, "https://ca.example.test/account/2", "other".into());
    let rejected = issuer::report(
        &blank,
        Some(1),
        "failed to create Secret a/account: exceeded quota: secrets",
        Timestamp::UNIX_EPOCH,
    );
    let disabled = acme(|it| it.disable_account_key_generation = Some(true));
    let plain = acme(|it| it.server = "http://ca.example.test/directory".into());
    let old = acme(|it| it.server = "https://acme-v01.api.letsencrypt.org/directory".into());
    vec![
        of_status(Reason::ACMEAccountRegistered, &registered.status, None),
        of_status(Reason::AccountReplaced, &replaced.status, replaced.event),
        of_status(Reason::ErrInitIssuer, &rejected, None),
        failed(Reason::ErrRegisterACMEAccount, &issuer::AccountError::Register(unreachable)),
        failed(
            Reason::ErrUpdateACMEAccount,
            &issuer::AccountError::UpdateContact(Failure::problem("invalidContact", 400).error()),
        ),
        refused(
            Reason::ErrVerifyACMEAccount,
            &issuer::View { acme: &disabled, key: &issuer::KeyView::Absent, ..view },
        ),
        refused(Reason::InvalidURL, &issuer::View { acme: &plain, ..view }),
        refused(Reason::InvalidConfig, &issuer::View { acme: &old, ..view }),
        Example::of_note(ISSUER, &issuer::unsupported("ca")),
    ]
}

fn of_ingresses() -> Vec<Example> {
    let mut ingress = Ingress { spec: Some(IngressSpec::default()), ..Ingress::default() };
    ingress.metadata.name = Some("web".into());
    ingress.metadata.namespace = Some("a".into());
    ingress.metadata.uid = Some("1".into());
    let bare = ingress.clone();
    ingress.annotations_mut().insert("cert-manager.io/cluster-issuer".into(), "letsencrypt".into());
    let decided = |ingress: &Ingress, existing: &[_]| {
        let source = shim::CertificateSource::from(ingress);
        shim::decide(&source, existing, &shim::ShimSettings::default()).notes
    };
    let mut owned = fixtures::certificate("web", |_| {});
    owned.metadata.owner_references = metadata::controller(&ingress).map(|owner| vec![owner]);
    let written = [Reason::CreateCertificate, Reason::UpdateCertificate, Reason::DeleteCertificate];
    let mut notes = decided(&ingress, &[]);
    notes.extend(decided(&bare, &[owned.into()]));
    notes.extend(written.map(|reason| shim::written(reason, "web")));
    notes.iter().map(|note| Example::of_note(INGRESS, note)).collect()
}

/// Errors, as the runner reports them on a Certificate.
fn of_errors() -> Vec<Example> {
    let rejected = |message: &str, reason: &str, code| ReconcileError::Kube {
        what: "create Ingress a/cm-acme-http-solver-1234".into(),
        error: Box::new(kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())),
    };
    let key = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
    let chain =
        pki::testing::issue(&key, &["a".into()], Timestamp::UNIX_EPOCH, jiff::SignedDuration::from_hours(1));
    let chain = pki::Chain::from_pem(chain.as_bytes()).expect("a chain");
    let keystore =
        pki::jks("secret", "\u{1f511}", &key, &chain, &pki::Authorities::default(), Timestamp::UNIX_EPOCH)
            .expect_err("an alias");
    let csr = CsrRequest { dns_names: vec!["\u{fc}".into()], ..CsrRequest::default() };
    let errors = [
        Failure::Unreachable(Phase::Connecting).error().into(),
        rejected(
            "ingresses \"web\" is forbidden: exceeded quota: ingresses, used: 5, limited: 5",
            "Forbidden",
            403,
        ),
        rejected("etcdserver: request timed out", "InternalError", 500),
        rejected("the object has been modified", "Conflict", 409),
        csr.sign_pem(&key).expect_err("a name").into(),
        ReconcileError::Deadline(Duration::from_mins(2)),
        ReconcileError::Waiting {
            what: "the keystore password in the Secret \"passwords\"".into(),
            why: "the Secret does not exist, or has no text under \"jks\". Create or correct it".into(),
        },
        ReconcileError::Internal("the issuer of a requested Challenge is unknown".into()),
        ReconcileError::Invalid {
            what: "tls.key in the Secret \"a/web\"".into(),
            why: "it is not an RSA, ECDSA, or Ed25519 key".into(),
        },
        PrivateKey::from_pem(b"x").expect_err("no key").into(),
        keystore.into(),
    ];
    let of_error = |error: &ReconcileError| {
        let reason = error.reason();
        let until = Timestamp::from_second(600).expect("a time");
        let problem = Problem::new(reason, &error.chain(), Duration::from_mins(10), until);
        assert!(problem.message.ends_with("; the next attempt is at 1970-01-01T00:10:00Z"), "{problem:?}");
        if reason == Reason::Conflict {
            return Example::new(reason, ANY, vec![(Place::Log, error.chain())]);
        }
        let certificate = fixtures::certificate("web", |_| {});
        let status = certificate::report(&certificate, &problem.message, Timestamp::UNIX_EPOCH);
        let ready = condition::find(&status.conditions, condition::READY).expect("a condition");
        assert_eq!(ready.message.as_deref(), Some(&*problem.message), "it is in the STATUS column");
        Example::new(
            reason,
            ANY,
            vec![(Place::Ready, problem.message.clone()), (Place::Warning, problem.message)],
        )
    };
    errors.iter().map(of_error).collect()
}

const HEAD: &str = "\
# Reasons of conditions and events

Every reason that the operator reports, with an example of its message. Messages name the objects and fields that they are
about; `kubectl get certificate -o wide` shows that of `Ready` in the STATUS column, whatever its reason is: what keeps a
Certificate from its desired state is in there, even if another object reports it first. Orders and Challenges have no
conditions: their `status.reason` says what they wait for, and is in the STATUS column of the Certificate as well.

This page is generated from `operator/src/reason` and tests: `UPDATE=1 cargo test -p operator --lib reason`.
";

fn page(examples: &[Example]) -> String {
    let mut page = HEAD.to_owned();
    let mut kinds = BTreeMap::<_, Vec<_>>::new();
    let order = [CERTIFICATE, INGRESS, REQUEST, ISSUER, ANY];
    for example in examples {
        let position = order.iter().position(|kind| *kind == example.kind);
        kinds.entry(position).or_default().push(example);
    }
    for examples in kinds.values() {
        let _ = write!(
            page,
            "\n## {}\n\n| reason | what it means | where | example | what to do |\n| --- | --- | --- | --- | --- |\n",
            examples[0].kind
        );
        for Example { reason, places, message, .. } in examples {
            let places = places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let meaning = reason.get_documentation().unwrap_or_default();
            let advice = reason.get_message().unwrap_or("nothing");
            let message = message.replace('|', "\\|");
            let _ = writeln!(page, "| `{}` | {meaning} | {places} | {message} | {advice} |", reason.as_str());
        }
    }
    page
}

#[test]
fn page_of_reasons_is_complete_and_up_to_date() {
    let examples = examples();
    let reported: BTreeSet<_> = examples.iter().map(|example| example.reason).collect();
    let missing: Vec<_> = Reason::iter().filter(|reason| !reported.contains(reason)).collect();
    assert!(missing.is_empty(), "nothing reports {missing:?}");
    for reason in Reason::iter() {
        assert!(reason.get_documentation().is_some(), "{reason:?} is not documented");
    }
    let page = page(&examples);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/REASONS.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/REASONS.md is out of date: run UPDATE=1 cargo test -p operator --lib reason"
    );
}
