//! Issuers and ClusterIssuers with as many solvers, certificates, and conditions as fit into an object, Secrets with their keys, and
//! namespaces with as many zones.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crds::{
    acme::{AcmeIssuer, AcmeIssuerStatus},
    annotations::issuer as annotation,
    certmanager::IssuerStatus,
    condition::{self, Condition, ConditionStatus},
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use operator::{
    accounts::{Accounts, Reach},
    acme::{AccountKey, AcmeError, MAX_CA_BUNDLE_BYTES},
    clock::SystemClock,
    decision::{
        issuer::{self, AccountError, IssuerProgress, KeyView, Step},
        request::{Applicant, Restrictions},
    },
    net::Proxy,
    pki::{CsrRequest, KeyEncoding, KeyKind, MAX_ACCOUNT_KEY_BITS, PrivateKey},
};
use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::{LARGEST_OBJECT, measured, names, number, orders, runner, time};

/// PEM certificates of a length, as many as fit.
fn bundle(bytes: usize, certificate: &str) -> ByteString {
    ByteString(certificate.repeat(bytes / certificate.len()).into_bytes())
}

fn status() -> impl Strategy<Value = IssuerStatus> {
    let sizes = (select(vec![0_usize, 1, 1000]), select(vec![0_usize, 1000]));
    (sizes, number(), time(), any::<bool>()).prop_map(|((count, text), generation, since, is_ready)| {
        let condition = |number: usize| Condition {
            type_: if number == 0 { condition::READY.to_owned() } else { format!("Other{number}") },
            status: if is_ready { ConditionStatus::True } else { ConditionStatus::False },
            reason: Some("x".repeat(text)),
            message: Some("x".repeat(text)),
            observed_generation: Some(generation),
            last_transition_time: since.map(Time),
        };
        let account = AcmeIssuerStatus {
            uri: Some(format!("https://ca.example.test/{}", "x".repeat(text * 100))),
            last_private_key_hash: Some("x".repeat(text * 100)),
            last_registered_email: Some("x".repeat(text * 100)),
        };
        IssuerStatus { acme: Some(account), conditions: (0..count).map(condition).collect() }
    })
}

pub(crate) fn issuers_cost_little() {
    let key = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
    let now = "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time");
    let certificate = operator::pki::temporary(&key, &["ca.example.test".to_owned()], &[], now).expect("it");
    let largest = PrivateKey::generate(KeyKind::Rsa { bits: MAX_ACCOUNT_KEY_BITS });
    let keys = [
        largest.expect("a key").to_pem(KeyEncoding::Traditional).expect("PEM").as_bytes().to_vec(),
        vec![b'-'; LARGEST_OBJECT],
        certificate.repeat(LARGEST_OBJECT / certificate.len()).into_bytes(),
        Vec::new(),
    ];
    let sizes = select(vec![0, MAX_CA_BUNDLE_BYTES, LARGEST_OBJECT]);
    let texts = select(vec![0_usize, 2000, LARGEST_OBJECT]);
    let drawn = (orders::solvers(), status(), sizes, texts, select(keys.to_vec()), number(), any::<bool>());
    let checked = runner().run(&drawn, |(solvers, status, bundle_bytes, text, key, generation, lost)| {
        let acme = AcmeIssuer {
            ca_bundle: Some(bundle(bundle_bytes, &certificate)),
            email: Some("X".repeat(text)),
            server: format!("https://ca.example.test/{}", "x".repeat(text)),
            ..orders::acme(&solvers)
        };
        let accounts = Accounts::new(Arc::new(SystemClock), Proxy::default(), Arc::new(|_| {}));
        measured("an issuer", || {
            let key = match PrivateKey::from_pem(&key).and_then(PrivateKey::for_account) {
                Ok(key) => KeyView::Present { hash: AccountKey::hash_of(&key).expect("a hash") },
                Err(error) => KeyView::Invalid(error.to_string()),
            };
            let view = issuer::View {
                uid: "1",
                generation: Some(generation),
                acme: &acme,
                status: &status,
                key: &key,
                mac_key: None,
                account_lost: lost,
                progress: Some(IssuerProgress {
                    generation: Some(generation),
                    mac_key: None,
                    failures: u32::MAX,
                    next_attempt: now,
                }),
                now,
            };
            Reach::of(&acme);
            _ = accounts.server(&acme);
            let outcomes = [
                issuer::on_registered(&view, "https://ca.example.test/1", "x".to_owned()),
                issuer::on_account_error(&view, &AccountError::Register(problem())),
            ];
            let refused = match issuer::decide(&view) {
                Step::Refuse(outcome) => Some(*outcome),
                Step::UseAccount(_) | Step::Wait(_) | Step::GenerateKey | Step::Register => None,
            };
            for outcome in outcomes.into_iter().chain(refused) {
                let ready = condition::find(&outcome.status.conditions, condition::READY);
                let message = ready.and_then(|it| it.message.as_ref()).map(String::len);
                assert!(message <= Some(condition::LONGEST_MESSAGE), "{message:?}");
            }
        })
    });
    checked.expect("it costs little");
    zones_cost_little(&key);
}

/// A rejection with long texts.
fn problem() -> AcmeError {
    let document = json!({ "type": "x".repeat(100_000), "detail": "x y\n".repeat(200_000) });
    AcmeError::Problem {
        problem: serde_json::from_value(document).expect("a problem"),
        status: 403.try_into().expect("a status"),
        retry_after: Some(Duration::MAX),
    }
}

/// A namespace with as many zones as fit into an annotation, and a request with a thousand names in none of them.
fn zones_cost_little(key: &PrivateKey) {
    let csr = CsrRequest { dns_names: names(1000, 14), ..CsrRequest::default() };
    let csr = operator::pki::Csr::from_pem(csr.sign_pem(key).expect("a CSR").as_bytes()).expect("a CSR");
    let annotations = BTreeMap::from([(annotation::RESTRICT_DNS_ZONES.to_owned(), "true".to_owned())]);
    let restrictions = Restrictions::of(&annotations).expect("restrictions");
    for last in ["other.invalid", "test"] {
        let zones: Vec<_> = (0..20_000).map(|number| format!("zone-{number}.test")).collect();
        let zones = format!("{},{last}", zones.join(","));
        let annotations = BTreeMap::from([(annotation::ALLOWED_DNS_ZONES.to_owned(), zones)]);
        let labels = BTreeMap::new();
        let applicant = Applicant { namespace: "a", labels: &labels, annotations: &annotations, csr: &csr };
        let refused = measured("a restricted issuer", || restrictions.refusal("issuer", applicant));
        assert_eq!(refused.expect("it costs little").is_some(), last != "test");
    }
}
