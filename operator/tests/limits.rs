//! What objects at their limits cost. A process of its own, because it measures its memory. Next: `limits_page/` for the page that lists
//! the limits.

#[path = "limits_page/mod.rs"]
mod limits_page;

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use crds::{
    acme::{Authorization, OfferedChallenge, OrderStatus, Selector, Solver, State},
    annotations::{request as annotation, source},
    certmanager::{Certificate, CertificateRequest, CertificateStatus, Renewal, RenewalWindow},
    condition::{self, Condition, ConditionStatus},
    fixtures,
};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        core::v1::Secret,
        networking::v1::{Ingress, IngressSpec, IngressTLS},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use operator::{
    decision::{
        backoff::IssuanceBackoff,
        certificate::{self, NextKey, Obtained, SecretView},
        order, request,
        shim::{self, CertificateSource, Change, ShimSettings},
    },
    pki::PrivateKey,
};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};

/// The CPU time of a decision. Release builds need a tenth of what debug builds do.
const TIME: Duration = Duration::from_millis(500);

/// The memory of a decision, on top of the object, KiB.
const MEMORY: u64 = 32 << 10;

/// The largest object that the API server takes, bytes.
const LARGEST_OBJECT: usize = 1_400_000;

/// The CPU time of this thread.
fn cpu() -> Duration {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").expect("statistics");
    let nanoseconds = schedstat.split_whitespace().next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// A number of `/proc/self/status`, KiB.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.split_whitespace().nth(1).and_then(|it| it.parse().ok()).expect("a number")
}

/// Fails if a decision costs too much.
fn measured<T>(what: &str, decide: impl FnOnce() -> T) -> Result<T, TestCaseError> {
    // The peak of the memory starts over.
    fs::write("/proc/self/clear_refs", "5").expect("a process may do this");
    let (before, began) = (status("VmRSS"), cpu());
    let decided = decide();
    let (time, memory) = (cpu().saturating_sub(began), status("VmHWM").saturating_sub(before));
    println!("{what}: {} ms, {memory} KiB", time.as_millis());
    prop_assert!(time < TIME && memory < MEMORY, "{what} takes {time:?} and {memory} KiB");
    Ok(decided)
}

/// Names of a length, as many as fit into an object.
fn names(count: usize, length: usize) -> Vec<String> {
    let fitting = count.min(LARGEST_OBJECT / (length + 6));
    (0..fitting).map(|number| format!("{number:0>length$}.test")).collect()
}

fn number() -> impl Strategy<Value = i64> {
    select(vec![i64::MIN, -1, 0, 1, 4_000_000_000, i64::MAX])
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    select(vec![None, Some(Timestamp::MIN), Some(Timestamp::UNIX_EPOCH), Some(Timestamp::MAX)])
}

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

fn ingress() -> impl Strategy<Value = Ingress> {
    let blocks = select(vec![1, 40, 100, 101, 30_000]);
    let hosts = select(vec![0, 1, 100, 1000, 100_000]);
    let annotations = select(vec![0, 20_000, 60_000, 250_000]);
    (blocks, hosts, annotations, any::<bool>()).prop_map(|(blocks, hosts, bytes, are_labels)| {
        let room = LARGEST_OBJECT / blocks / 40;
        let block = |number: usize| IngressTLS {
            hosts: Some((0..hosts.min(room)).map(|host| format!("h{host}.b{number}.test")).collect()),
            secret_name: Some(format!("secret-{number}")),
        };
        let name = |number: usize| format!("n{number}.test");
        let alt_names = (0..bytes / 11).map(name).collect::<Vec<_>>().join(",");
        let mut ingress = Ingress {
            spec: Some(IngressSpec { tls: Some((0..blocks).map(block).collect()), ..IngressSpec::default() }),
            ..Ingress::default()
        };
        let issuer = (source::CLUSTER_ISSUER.to_owned(), "letsencrypt".to_owned());
        let alt_names = (source::ALT_NAMES.to_owned(), alt_names);
        ingress.metadata.annotations = Some([issuer, alt_names].into());
        let labels = (0..bytes / 70).map(|number| (name(number), "x".repeat(60)));
        ingress.metadata.labels = are_labels.then(|| labels.collect());
        (ingress.metadata.name, ingress.metadata.uid) = (Some("web".into()), Some("1".into()));
        ingress
    })
}

fn runner() -> TestRunner {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
}

/// One test, because the memory is that of the process.
#[test]
fn objects_at_the_limits_cost_little() {
    certificates_cost_little();
    ingresses_cost_little();
    requests_cost_little();
    orders_cost_little();
}

fn certificates_cost_little() {
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
                pace: None,
                restored: None,
                problem: Some(&chain),
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

fn ingresses_cost_little() {
    let settings = ShimSettings::default();
    let checked = runner().run(&ingress(), |ingress| {
        let (created, mut existing) = measured("a new Ingress", || {
            let source = CertificateSource::from(&ingress);
            let decision = shim::decide(&source, &[], &settings);
            assert!(
                decision.notes.iter().all(|note| note.message.len() <= 1000) && decision.notes.len() <= 100
            );
            let mut last = None;
            let created = decision.changes.inspect(|change| last = Some(change.clone())).count();
            (created, last)
        })?;
        prop_assert!(created <= shim::MOST_BLOCKS);
        let Some(Change::Create(certificate)) = existing.take() else { return Ok(()) };
        let existing = [Arc::new(*certificate)];
        measured("an Ingress with a Certificate", || {
            let source = CertificateSource::from(&ingress);
            assert_eq!(shim::decide(&source, &existing, &settings).changes.count(), created - 1);
        })
    });
    checked.expect("it costs little");
}

fn requests_cost_little() {
    let issuer = fixtures::issuer("issuer", |_| {});
    let acme = issuer.spec.acme.as_ref().expect("an ACME issuer");
    let key = PrivateKey::generate(operator::pki::KeyKind::Ed25519).expect("a key");
    let csr =
        operator::pki::CsrRequest { dns_names: names(1000, 14), ..operator::pki::CsrRequest::default() };
    let largest = csr.sign_pem(&key).expect("a CSR").into_bytes();
    assert!(largest.len() < operator::pki::MAX_CSR_PEM_BYTES);
    for csr in
        [largest.clone(), vec![b'-'; LARGEST_OBJECT], [largest.clone(), largest].concat(), vec![0xff; 30_000]]
    {
        let request = fixtures::certificate_request("web-1", |it| it.spec.request = ByteString(csr));
        let issuer = request::IssuerView::Acme { acme, account: None, ready: true, message: None };
        let view = request::View {
            request: &request,
            is_orphan: false,
            issuer,
            order: None,
            pace: None,
            problem: None,
            auto_approve: true,
            now: Timestamp::UNIX_EPOCH,
        };
        measured("a CertificateRequest", || request::decide(&view)).expect("it costs little");
    }
}

/// An Order with a thousand names, at an issuer with selectors as long as they may be, before and after it has its Challenges.
fn orders_cost_little() {
    let authorization = |number: usize| Authorization {
        challenges: Some(vec![OfferedChallenge { type_: "http-01".into(), ..OfferedChallenge::default() }]),
        identifier: Some(format!("{number}.example.test")),
        initial_state: Some(State::Pending),
        url: format!("https://ca.example.test/{number}"),
        wildcard: None,
    };
    let solver = |solver: usize| {
        let zones = (0..1300).map(|number| format!("a-zone-of-{number}-{solver}.with-a-long-name.test"));
        let dns_zones = Some(zones.chain(["example.test".to_owned()]).collect());
        let selector = Some(Selector { dns_zones, ..Selector::default() });
        Solver { selector, ..fixtures::ingress_solver("nginx") }
    };
    let solvers: Vec<_> = (0..4).map(solver).collect();
    let issuer = fixtures::issuer("issuer", |it| {
        it.spec.acme.as_mut().expect("an ACME issuer").solvers = Some(solvers.clone());
    });
    let order = fixtures::order("web-1", |it| {
        it.status = Some(OrderStatus {
            authorizations: Some((0..1000).map(authorization).collect()),
            finalize_url: Some("https://ca.example.test/finalize".into()),
            state: Some(State::Pending),
            url: Some("https://ca.example.test/order".into()),
            ..OrderStatus::default()
        });
    });
    let challenge = |number: usize| {
        let challenge = fixtures::challenge(&format!("web-1-{number}"), |it| {
            it.spec.authorization_url = format!("https://ca.example.test/{number}");
            it.spec.solver = solvers[number % 4].clone();
        });
        Arc::new(challenge)
    };
    let status = order.status.clone().unwrap_or_default();
    for challenges in [Vec::new(), (0..1000).map(challenge).collect()] {
        let view = order::View {
            order: &order,
            status: &status,
            progress: &order::OrderProgress::default(),
            renews: false,
            issuer: order::IssuerView {
                acme: issuer.spec.acme.as_ref().expect("an ACME issuer"),
                has_account: true,
                new_orders: None,
            },
            challenges: &challenges,
            left_behind: &[],
            deleted: &[],
            now: Timestamp::UNIX_EPOCH,
        };
        measured("an Order", || order::decide(&view)).expect("it costs little");
    }
}
