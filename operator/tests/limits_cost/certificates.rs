//! Certificates with as many names, windows, and requests as fit into an object, and Secrets as large as one may be.

use std::{collections::BTreeMap, sync::Arc};

use crds::{
    annotations::request as annotation,
    certmanager::{Certificate, CertificateRequest, CertificateStatus, Renewal, RenewalWindow},
    condition::{self, Condition, ConditionStatus},
    fixtures,
};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Time};
use operator::{
    decision::{
        backoff::IssuanceBackoff,
        certificate::{self, NextKey, Obtained, SecretView},
    },
    pki::PrivateKey,
};
use proptest::{prelude::*, sample::select};

use super::{measured, names, number, runner, time};

fn certificate() -> impl Strategy<Value = Certificate> {
    let size = (select(vec![0, 1, 100, 1000, 60_000]), select(vec![1, 20, 60]));
    let crons = select(vec!["0 0 31 2,4,6,9,11 *", "* * * * *", "0 0 29 2 1", "0 0 1 * +MON#3", "?"]);
    let windows = (select(vec![0, 1, 100, 3000]), crons, select(vec!["1s", "2562047h"]));
    (size, windows, number(), number(), time(), time()).prop_map(
        |((count, length), (windows, cron, duration), revision, attempts, issuing, failed)| {
            fixtures::certificate("web", |it| {
                (it.metadata.namespace, it.metadata.uid) = (Some("a".into()), Some("1".into()));
                let names = names(count, length);
                (it.spec.dns_names, it.spec.uris) =
                    (Some(names.clone()), Some(names).filter(|_| length == 1));
                it.spec.revision_history_limit = Some(i32::MAX);
                let window = RenewalWindow {
                    cron: Some(cron.into()),
                    timezone: Some("Europe/Berlin".into()),
                    window_duration: Some(duration.parse().expect("a duration")),
                };
                it.spec.renewal = Some(Renewal { windows: Some(vec![window; windows]), policy: None });
                let condition = issuing.map(|time| Condition {
                    type_: condition::ISSUING.into(),
                    status: ConditionStatus::True,
                    reason: Some("ManuallyTriggered".into()),
                    message: Some("x".repeat(32_000)),
                    observed_generation: Some(revision),
                    last_transition_time: Some(Time(time)),
                });
                it.status = Some(CertificateStatus {
                    revision: Some(revision),
                    failed_issuance_attempts: Some(attempts),
                    last_failure_time: failed.map(Time),
                    conditions: condition.into_iter().collect(),
                    ..CertificateStatus::default()
                });
            })
        },
    )
}

/// Requests that a user has made the Certificate's own.
fn requests(of: &Certificate, csr: &str) -> Vec<Arc<CertificateRequest>> {
    let request = |number: i64| {
        let request = fixtures::certificate_request(&format!("web-{number}"), |it| {
            let revision = certificate::next_revision(of).saturating_sub(number);
            let revision = (annotation::CERTIFICATE_REVISION.to_owned(), revision.to_string());
            it.metadata.annotations = Some(BTreeMap::from([revision]));
            it.spec.request = ByteString(csr.as_bytes().to_vec());
        });
        Arc::new(request)
    };
    (0..500).map(request).collect()
}

fn secret(chain: &str, key: &PrivateKey) -> Secret {
    let key = key.to_pem(operator::pki::KeyEncoding::Pkcs8).expect("PEM");
    let data = [("tls.crt", chain.as_bytes().to_vec()), ("tls.key", key.as_bytes().to_vec())];
    let large = ("x".repeat(200), ByteString(vec![b'x'; 900_000]));
    let annotations =
        [("cert-manager.io/certificate-name", "web"), ("cert-manager.io/issuer-name", "issuer")];
    let mut secret = Secret {
        data: Some(data.map(|(name, value)| (name.to_owned(), ByteString(value))).into_iter().collect()),
        ..Secret::default()
    };
    secret.data.get_or_insert_default().extend([large]);
    let annotations = annotations.map(|(name, value)| (name.to_owned(), value.to_owned()));
    secret.metadata.annotations = Some(annotations.into());
    secret
}

pub(crate) fn certificates_cost_little() {
    let key = PrivateKey::generate(operator::pki::KeyKind::Ed25519).expect("a key");
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let chain = operator::pki::temporary(&key, &["web.example.test".to_owned()], &[], now).expect("a chain");
    let csr = operator::pki::CsrRequest { dns_names: names(800, 20), ..operator::pki::CsrRequest::default() };
    let csr = csr.sign_pem(&key).expect("a CSR");
    let key = Arc::new(key);
    let checked = runner().run(&(certificate(), any::<bool>()), |(certificate, with_key)| {
        let requests = requests(&certificate, &csr);
        let secret = secret(&chain, &key);
        let obtained = Obtained::default();
        measured("a Certificate", || {
            let secret = SecretView::parse(&secret);
            let decision = certificate::decide(&certificate::View {
                certificate: &certificate,
                secret: Some(&secret),
                requests: &requests,
                next_request_name: "web-2",
                left_behind: None,
                is_requested: false,
                order_reason: Some(&chain),
                order_counts: true,
                rivals: &[],
                next_key: NextKey { secret_name: "next", key: Some(&key).filter(|_| with_key) },
                past_key: None,
                issuer: None,
                unsupported: None,
                pace: None,
                restored: None,
                problem: Some(&chain),
                advice: Some(&chain),
                obtained: &obtained,
                backoff: IssuanceBackoff::default(),
                set_secret_owner_ref: false,
                started: now,
                now,
            });
            for action in decision.into_iter().flat_map(|it| it.actions) {
                if let certificate::Action::WriteStatus(status) = action {
                    let longest = status.conditions.iter().flat_map(|it| &it.message).map(String::len).max();
                    assert!(longest <= Some(32_768), "the API server would reject it");
                }
            }
        })
    });
    checked.expect("it costs little");
}
