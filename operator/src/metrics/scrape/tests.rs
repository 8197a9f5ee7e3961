//! What `/metrics` says, and what a scrape costs when there are 20,000 Certificates.

use std::collections::BTreeSet;

use crds::{
    Preserved,
    acme::{ChallengeStatus, State},
    certmanager::{Certificate, CertificateStatus, ClusterIssuerSpec, IssuerStatus},
    condition::{self, Condition, ConditionStatus},
    fixtures,
};
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::json;

use super::{super::counts::Counts, *};
use crate::{
    cache::{Gauge, Kind},
    clock::Clock,
};

fn fill<K>(kind: &Kind<K>, objects: impl IntoIterator<Item = K>)
where
    K: kube::runtime::reflector::Lookup<DynamicType = ()> + Clone,
{
    let mut writer = kind.take_writer().expect("the first call");
    writer.begin_list();
    for object in objects {
        writer.put(&Arc::new(object));
    }
    writer.end_list();
}

fn ready(status: ConditionStatus) -> Vec<Condition> {
    let condition = json!({ "type": condition::READY, "status": status });
    vec![serde_json::from_value(condition).expect("a condition")]
}

fn certificate(name: &str, namespace: &str) -> Certificate {
    let time = |text: &str| serde_json::from_value(json!(text)).ok();
    fixtures::certificate(name, |it| {
        it.metadata.namespace = Some(namespace.to_owned());
        it.status = Some(CertificateStatus {
            conditions: ready(ConditionStatus::True),
            not_before: time("2026-01-01T00:00:00Z"),
            not_after: time("2026-04-01T00:00:00Z"),
            renewal_time: time("2026-03-01T00:00:00Z"),
            ..CertificateStatus::default()
        });
    })
}

async fn whole_text(scrapes: &Arc<Scrapes>) -> String {
    let chunks: Vec<_> = scrapes.text().map(|Ok(chunk)| chunk.to_vec()).collect().await;
    String::from_utf8(chunks.concat()).expect("UTF-8")
}

fn small_cache() -> Arc<Cache> {
    let cache = Cache::default();
    cache.indexes.put(&certificate("web", "a"));
    fill(
        &cache.challenges,
        [fixtures::challenge("web-1", |it| {
            it.metadata.namespace = Some("a".to_owned());
            it.status = Some(ChallengeStatus {
                state: Some(State::Pending),
                processing: Some(true),
                ..ChallengeStatus::default()
            });
        })],
    );
    let issuer = |ready| Some(IssuerStatus { conditions: ready, ..IssuerStatus::default() });
    fill(
        &cache.issuers,
        [fixtures::issuer("prod", |it| {
            it.metadata.namespace = Some("a".to_owned());
            it.status = issuer(ready(ConditionStatus::False));
        })],
    );
    let vault = fixtures::cluster_issuer("all", |it| {
        it.spec = ClusterIssuerSpec { vault: Some(Preserved::default()), ..ClusterIssuerSpec::default() };
        it.status = issuer(Vec::new());
    });
    fill(&cache.cluster_issuers, [vault]);
    Arc::new(cache)
}

/// A clock that stands still.
#[derive(Debug)]
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::constant(1_767_225_600, 0)
    }
}

/// Names, labels, help texts, and types are cert-manager's: dashboards and alerts depend on them.
#[tokio::test]
async fn text_has_the_families_of_cert_manager() {
    let metrics = Metrics::new(Arc::new(Stopped));
    metrics.record_reconcile("orders", true);
    metrics.set_leader(true);
    metrics.set_waiting_orders(|| 7);
    let text = whole_text(&Scrapes::new(metrics, small_cache(), true)).await;
    let (families, process) = text.split_at(text.find("# HELP process_").expect("metrics of the process"));
    let families = families.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert_eq!(families, include_str!("expected.txt"));
    for name in ["cpu_seconds_total", "resident_memory_bytes", "start_time_seconds", "open_fds", "max_fds"] {
        assert!(
            process.lines().any(|line| line.starts_with(&format!("process_{name} "))),
            "{name}: {process}"
        );
    }
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_metric = |word: &&str| {
        ["acme_operator_", "certmanager_", "process_"].iter().any(|prefix| word.starts_with(prefix))
    };
    words.filter(is_metric).collect()
}

/// An alert on a metric that does not exist never fires.
#[tokio::test]
async fn alerts_and_dashboard_use_metrics_that_exist() {
    let metrics = Metrics::default();
    metrics.record_reconcile("orders", true);
    metrics.acme_observer()(&crate::acme::Observation {
        url: "https://ca.test/",
        directory: "https://ca.test/",
        action: crate::acme::Action::Discover,
        method: &hyper::Method::GET,
        status: None,
        latency: Duration::from_secs(1),
    });
    let exported = whole_text(&Scrapes::new(metrics, small_cache(), true)).await;
    let exported = names(&exported);
    for (file, least) in [
        (include_str!("../../../../charts/acme-operator/files/monitoring/rules.yaml"), 9),
        (include_str!("../../../../charts/acme-operator/files/monitoring/dashboard.json"), 10),
    ] {
        let used = names(file);
        let unknown: Vec<_> = used.difference(&exported).collect();
        assert!(unknown.is_empty() && used.len() >= least, "{unknown:?} of {used:?} don't exist");
    }
}

#[tokio::test]
async fn series_of_certificates_can_be_turned_off() {
    let text = whole_text(&Scrapes::new(Metrics::default(), small_cache(), false)).await;
    assert!(!text.contains("certmanager_certificate_"), "{text}");
    assert!(text.contains("acme_operator_certificates{condition=\"True\"} 1\n"), "{text}");
    assert!(
        text.contains(
            "certmanager_issuer_ready_status{condition=\"False\",name=\"prod\",namespace=\"a\"} 1\n"
        )
    );
}

/// Alerts on these are in place of those on series for each Certificate.
#[test]
fn certificates_are_counted_by_their_times() {
    let cache = small_cache();
    let at = |time: &str| {
        let Counts { ready: _, expired, overdue, unsupported_issuers: _ } =
            Counts::of(&cache, time.parse().expect("a time"));
        (expired, overdue)
    };
    // Renewal is planned for 1 March, 31 days before the expiry.
    assert_eq!(at("2026-03-21T00:00:00Z"), (0, 0));
    assert_eq!(at("2026-03-22T00:00:00Z"), (0, 1));
    assert_eq!(at("2026-04-01T00:00:00Z"), (1, 1));
}

/// The limits are three times those of the design (50 ms and 10 MB), because this is not optimized, and not alone on the machine:
/// so the slowest chunks don't count. The clock stands still, so that there are no pauses.
#[expect(clippy::disallowed_methods, reason = "measures real time while tokio's clock stands still")]
#[tokio::test(start_paused = true)]
async fn scrape_of_20000_certificates_is_chunked() {
    const CERTIFICATES: usize = 20_000;
    /// Eight of its own, the clock, twice, and the process.
    const OTHERS: usize = 17;
    let cache = Cache::default();
    let name = |index: usize| format!("certificate-with-an-ordinary-name-{index}");
    for index in 0..CERTIFICATES {
        cache.indexes.put(&certificate(&name(index), "a-namespace"));
    }
    let scrapes = Scrapes::new(Metrics::default(), Arc::new(cache), true);
    let mut text = Box::pin(scrapes.text());
    let (mut times, mut largest, mut size, mut series) = (Vec::new(), 0, 0, 0);
    loop {
        // Between two chunks, everything else gets the thread.
        let began = std::time::Instant::now();
        let Some(Ok(chunk)) = text.next().await else { break };
        times.push(began.elapsed());
        (largest, size) = (largest.max(chunk.len()), size + chunk.len());
        series += std::str::from_utf8(&chunk)
            .expect("whole lines")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count();
    }
    times.sort();
    let (all, most) = (times.iter().sum::<Duration>(), times[times.len() * 95 / 100]);
    println!(
        "{size} bytes in {all:?}, in chunks of at most {largest} bytes and {most:?} (the slowest: {:?})",
        times[times.len() - 1]
    );
    assert_eq!(series, CERTIFICATES * 7 + OTHERS);
    assert!(most < Duration::from_millis(150), "chunks take {most:?}");
    let in_memory = CERTIFICATES * size_of::<Arc<Gauge>>() + largest * crate::server::MAX_CONNECTIONS;
    assert!(in_memory < 30_000_000, "scrapes take up to {in_memory} bytes");
}

#[tokio::test(start_paused = true)]
async fn concurrent_scrapes_share_a_view_for_five_seconds() {
    let scrapes = Scrapes::new(Metrics::default(), small_cache(), true);
    let first = scrapes.view();
    assert!(Arc::ptr_eq(&first, &scrapes.view()));
    tokio::time::advance(SHARED_FOR).await;
    assert!(!Arc::ptr_eq(&first, &scrapes.view()), "it is too old");
    drop(first);
    assert!(scrapes.view.lock().expect("not poisoned").upgrade().is_none(), "an unused view stays in memory");
}
