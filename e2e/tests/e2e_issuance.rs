//! The main job, in Pods installed by Helm on a real node: annotations become certificates, and stay so.

use std::{
    collections::BTreeMap,
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use crds::{acme::Challenge, certmanager::CertificateRequest, condition};
use e2e::{
    harness::{self, Namespace, with_namespace},
    operator, scenarios,
    user::{self, User, issuer_annotation, secret_value},
};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use testbed::{
    audit::AuditMark,
    bring_up,
    cluster::{Mode, Options},
    helm::helm,
    http::Trust,
    page,
    pebble::{Pebble, Settings},
    probe,
};
use tokio::{sync::Mutex, time::sleep};
use xtask::progress::Steps;

/// Installs the chart once, in whichever test comes first.
async fn installed() -> Result<()> {
    static INSTALLED: OnceLock<Mutex<bool>> = OnceLock::new();
    let mut installed = INSTALLED.get_or_init(Mutex::default).lock().await;
    if !*installed {
        let cluster = harness::cluster()?;
        operator::load_images(cluster).await?;
        operator::install(cluster, &[]).await?;
        *installed = true;
    }
    Ok(())
}

/// A test in a namespace of its own, with a user there and the operator installed.
async fn scenario(name: &str, test: impl AsyncFnOnce(&User<'_>, &Namespace) -> Result<()>) -> Result<()> {
    installed().await?;
    with_namespace(name, async |namespace| {
        let user = User::new(namespace.cluster(), namespace.name()).await?;
        test(&user, namespace).await
    })
    .await
}

/// The tests that measure do so alone.
static ALONE: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

#[tokio::test]
async fn an_annotation_becomes_a_secret_in_a_second() -> Result<()> {
    const RUNS: usize = 10;
    let _alone = ALONE.write().await;
    scenario("second", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let mut times = Vec::new();
        for run in 0..RUNS {
            let name = format!("web-{run}");
            let hosts = [user.host(&name)];
            user.apply_ingress(&name, &hosts, json!({})).await?;
            user.await_idle_ingress().await?;
            let began = Instant::now();
            user.apply_ingress(&name, &hosts, issuer_annotation(issuer)).await?;
            user.await_secret(&name, harness::TIMEOUT).await?;
            times.push(began.elapsed());
        }
        times.sort();
        let median = times[RUNS / 2];
        println!("annotation to Secret, {RUNS} runs: median {median:.2?}, longest {:.2?}", times[RUNS - 1]);
        ensure!(median <= Duration::from_millis(1500), "{times:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn fifty_ingresses_at_once_are_served_in_seconds() -> Result<()> {
    const COUNT: usize = 50;
    let _alone = ALONE.write().await;
    scenario("burst", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let root = pebble.issuing_root(0).await?;
        // Earlier tests may have left it something to do.
        operator::await_quiet(user.cluster, |event| {
            event.is_write()
                && event.namespace().is_some()
                && !["events", "leases"].contains(&&*event.resource())
        })
        .await?;
        let mark = AuditMark::now(user.cluster)?;
        let began = Instant::now();
        let hosts: Vec<_> = (0..COUNT).map(|index| user.host(&format!("w{index}"))).collect();
        try_join_all(hosts.iter().enumerate().map(|(index, host)| async move {
            user.apply_ingress(&format!("w{index}"), std::slice::from_ref(host), issuer_annotation(issuer))
                .await
        }))
        .await?;
        let limit = Duration::from_mins(1);
        // Asked for once it can be there: handshakes cost the machine that is measured.
        try_join_all(hosts.iter().enumerate().map(async |(index, host)| {
            user.await_secret(&format!("w{index}"), limit).await?;
            user.await_served(host, &root, limit).await
        }))
        .await?;
        let time = began.elapsed();
        for index in 0..COUNT {
            user.await_issued(&format!("w{index}"), limit).await?;
        }
        // Also what is cleaned up afterwards counts.
        user.await_quiet().await?;
        let mut count = mark.count(operator::USER)?;
        count.retain(|what, _| !what.ends_with("leases"));
        let requests = count.values().sum::<usize>();
        println!(
            "{COUNT} Ingresses at once served in {time:.2?}, {}.{} API requests for each: {count:?}",
            requests / COUNT,
            requests * 10 / COUNT % 10
        );
        // It is ten seconds on a machine with nothing else to do; half of two cores make keys meanwhile.
        ensure!(time <= Duration::from_secs(20), "{time:?}");
        ensure!(requests <= 22 * COUNT, "{requests} requests");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_deleted_swapped_or_spoiled_is_repaired() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("repair", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let host = user.host("web");
        user.apply_ingress("web", std::slice::from_ref(&host), issuer_annotation(issuer)).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        let secrets = user.api::<Secret>();
        let first = secrets.get("web").await?;
        let serial = |secret: &Secret| secret_value(Some(secret), "tls.crt").to_vec();

        // Deleted.
        secrets.delete("web", &DeleteParams::default()).await?;
        let second = user.await_secret("web", harness::TIMEOUT).await?;
        ensure!(serial(&second) != serial(&first));
        user.await_issued("web", harness::TIMEOUT).await?;

        // The old key beside the new certificate, then a certificate that is none.
        for (key, value) in
            [("tls.key", secret_value(Some(&first), "tls.key").to_vec()), ("tls.crt", b"spoiled".to_vec())]
        {
            let before = secrets.get("web").await?;
            let patch = json!({ "data": { key: k8s_openapi::ByteString(value) } });
            secrets.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
            let revision = user.await_certificate("web", "be issued anew", harness::TIMEOUT, |it| {
                let revision = |of: &crds::certmanager::Certificate| {
                    of.status.as_ref().and_then(|status| status.revision)
                };
                user::is_issued(it) && revision(it) >= Some(3)
            });
            revision.await?;
            let deadline = Instant::now() + harness::TIMEOUT;
            loop {
                let now = secrets.get("web").await?;
                if serial(&now) != serial(&before) && serial(&now) != b"spoiled" {
                    break;
                }
                ensure!(Instant::now() < deadline, "{key} is not repaired");
                sleep(Duration::from_millis(50)).await;
            }
        }
        let root = pebble.issuing_root(0).await?;
        user.await_served(&host, &root, harness::TIMEOUT).await?;
        Ok(())
    })
    .await
}

/// Serial numbers of what is served, as long as a client polls; fails at the first chain that is not good.
async fn poll_without_fault(
    user: &User<'_>,
    host: &str,
    root: &Trust,
    wanted: usize,
) -> Result<Vec<Vec<u8>>> {
    let mut serials: Vec<Vec<u8>> = Vec::new();
    let deadline = Instant::now() + Duration::from_mins(12);
    while serials.len() < wanted {
        let served = probe::tls(&user.cluster.network(), host, 443, host, root).await?;
        served.verdict.with_context(|| format!("after {} certificates; {}", serials.len(), user.log()))?;
        let leaf = served.certificates[0].to_vec();
        if serials.last() != Some(&leaf) {
            serials.push(leaf);
        }
        ensure!(Instant::now() < deadline, "only {} certificates; {}", serials.len(), user.log());
        sleep(Duration::from_millis(100)).await;
    }
    Ok(serials)
}

#[tokio::test]
async fn a_certificate_of_a_minute_is_renewed_ten_times_and_never_seen_expired() -> Result<()> {
    scenario("renewal", async |user, namespace| {
        let profiles = BTreeMap::from([("minute".to_owned(), Duration::from_mins(1))]);
        let pebble = Pebble::in_cluster(user.cluster, &Settings { profiles, ..Settings::calm() }).await?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({ "profile": "minute" })).await?;
        let host = user.host("web");
        user.apply_ingress("web", std::slice::from_ref(&host), issuer_annotation(issuer)).await?;
        let root = pebble.issuing_root(0).await?;
        user.await_served(&host, &root, harness::TIMEOUT).await?;
        let began = Instant::now();
        let serials = poll_without_fault(user, &host, &root, 11).await?;
        println!(
            "{} renewals in {:.0?}, each seen by a client that saw nothing bad",
            serials.len() - 1,
            began.elapsed()
        );
        let status = user.await_issued("web", harness::TIMEOUT).await?.status.context("a status")?;
        ensure!(status.revision >= Some(11), "{status:?}");
        // The past is cleared away.
        let requests = user.api::<CertificateRequest>().list(&ListParams::default()).await?;
        ensure!(requests.items.len() <= 2, "{} CertificateRequests", requests.items.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn other_hosts_get_another_certificate() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("hosts", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let host = |name: &str| user.host(name);
        user.apply_ingress("web", &[host("a")], issuer_annotation(issuer)).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        user.apply_ingress("web", &[host("a"), host("b")], issuer_annotation(issuer)).await?;
        let root = pebble.issuing_root(0).await?;
        user.await_served(&host("b"), &root, harness::TIMEOUT).await?;
        user.apply_ingress("web", &[host("b")], issuer_annotation(issuer)).await?;
        user.await_certificate("web", "be issued a third time", harness::TIMEOUT, |it| {
            user::is_issued(it) && it.status.as_ref().and_then(|status| status.revision) == Some(3)
        })
        .await?;
        let secret = user.api::<Secret>().get("web").await?;
        ensure!(secret.annotations()["cert-manager.io/alt-names"] == host("b"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_name_that_the_ca_refuses_is_told_on_the_certificate() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("refused", async |user, namespace| {
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
        user.apply_ingress("web", &["www.blocked.example.test".to_owned()], issuer_annotation(issuer))
            .await?;
        let failed = user.await_certificate("web", "say why", harness::TIMEOUT, |it| {
            let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
            condition::find(conditions, condition::ISSUING).is_some_and(|issuing| {
                issuing.message.as_deref().is_some_and(|message| {
                    message.contains("rejectedIdentifier") && message.contains("the next attempt is at")
                })
            })
        });
        failed.await.map(drop)
    })
    .await
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_waited_for() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("patience", async |user, namespace| {
        // Sent at random as a number of seconds and as a date.
        let settings = Settings { retry_after: Duration::from_secs(1), ..Settings::calm() };
        let pebble = Pebble::in_cluster(user.cluster, &settings).await?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        for index in 0..4 {
            let name = format!("web-{index}");
            let began = Instant::now();
            user.apply_ingress(&name, &[user.host(&name)], issuer_annotation(issuer)).await?;
            user.await_issued(&name, harness::TIMEOUT).await?;
            println!("with Retry-After 1: {:.2?}", began.elapsed());
            // The order is processing when it is finalized: it is looked at again no earlier than the server said.
            ensure!(began.elapsed() >= Duration::from_secs(1));
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_solver_that_is_killed_while_the_ca_validates_costs_nothing() -> Result<()> {
    let _alone = ALONE.write().await;
    scenario("solver", async |user, namespace| {
        let settings = Settings { slow_validation: true, ..Settings::calm() };
        let pebble = Pebble::in_cluster(user.cluster, &settings).await?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let hosts: Vec<_> = (0..5).map(|index| user.host(&format!("w{index}"))).collect();
        user.apply_ingress("web", &hosts, issuer_annotation(issuer)).await?;
        let deadline = Instant::now() + harness::TIMEOUT;
        while user.api::<Challenge>().list(&ListParams::default()).await?.items.is_empty() {
            ensure!(Instant::now() < deadline, "there is no Challenge; {}", user.log());
            sleep(Duration::from_millis(20)).await;
        }
        let pods: Api<Pod> = Api::namespaced(user.client.clone(), operator::NAME);
        let selector = ListParams::default().labels("app.kubernetes.io/component=http01-solver");
        let replicas = pods.list(&selector).await?;
        ensure!(replicas.items.len() == 2, "{} replicas", replicas.items.len());
        // As by SIGKILL: no time to drain.
        pods.delete(&replicas.items[0].name_any(), &DeleteParams::default().grace_period(0)).await?;
        let certificate = user.await_issued("web", Duration::from_mins(2)).await?;
        let failures = certificate.status.and_then(|status| status.failed_issuance_attempts);
        ensure!(failures.is_none(), "{failures:?} failures");
        operator::install(user.cluster, &[]).await
    })
    .await
}

#[tokio::test]
async fn a_restart_with_everything_issued_writes_nothing() -> Result<()> {
    let _alone = ALONE.write().await;
    scenario("restart", async |user, namespace| {
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
        for index in 0..5 {
            let name = format!("web-{index}");
            user.apply_ingress(&name, &[user.host(&name)], issuer_annotation(issuer)).await?;
            user.await_issued(&name, harness::TIMEOUT).await?;
        }
        user.await_quiet().await?;
        let mark = AuditMark::now(user.cluster)?;
        let pods: Api<Pod> = Api::namespaced(user.client.clone(), operator::NAME);
        let selector = ListParams::default().labels("app.kubernetes.io/component=operator");
        for pod in pods.list(&selector).await? {
            pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
        }
        operator::install(user.cluster, &[]).await?;
        harness::assert_stays("the operator writes nothing", Duration::from_secs(5), async || {
            let writes =
                operator::writes(&mark, |namespace| namespace.is_none_or(|name| name == user.namespace))?;
            ensure!(writes.is_empty(), "{writes:?}");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_hundred_certificates_at_rest_cost_nothing() -> Result<()> {
    const COUNT: usize = 100;
    const WATCHED: Duration = Duration::from_mins(10);
    scenario("rest", async |user, namespace| {
        {
            let _with_others = ALONE.read().await;
            let issuer = namespace.name();
            user.create_cluster_issuer(issuer, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
            try_join_all((0..COUNT).map(|index| async move {
                let name = format!("w{index}");
                let spec = json!({
                    "dnsNames": [user.host(&name)],
                    "issuerRef": { "kind": "ClusterIssuer", "name": issuer },
                    "privateKey": { "algorithm": "ECDSA" },
                });
                user.apply_certificate(&name, spec).await
            }))
            .await?;
            for index in 0..COUNT {
                user.await_issued(&format!("w{index}"), Duration::from_mins(2)).await?;
            }
            user.await_quiet().await?;
        }
        let mark = AuditMark::now(user.cluster)?;
        // Other tests issue meanwhile, in namespaces of their own.
        harness::assert_stays("the operator writes nothing", WATCHED, async || {
            let writes = operator::writes(&mark, |namespace| namespace == Some(&user.namespace))?;
            ensure!(writes.is_empty(), "{writes:?}");
            Ok(())
        })
        .await?;
        let (operator, solver) = (resident("/operator")?, resident("/http01-solver")?);
        println!(
            "{COUNT} certificates for {} min: no writes; resident: operator {operator} KiB, solver {solver} KiB",
            WATCHED.as_secs() / 60
        );
        Ok(())
    })
    .await
}

/// How much memory the largest process of a program has, KiB.
fn resident(program: &str) -> Result<u64> {
    let mut largest = None;
    for process in std::fs::read_dir("/proc")?.filter_map(Result::ok) {
        let read = |name: &str| std::fs::read_to_string(process.path().join(name)).unwrap_or_default();
        if read("cmdline").split('\0').next() != Some(program) {
            continue;
        }
        let status = read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        largest = largest.max(size);
    }
    largest.with_context(|| format!("no process {program} runs"))
}

#[tokio::test]
async fn the_users_own_example_works_to_the_letter() -> Result<()> {
    let _with_others = ALONE.read().await;
    // With a cluster of its own: its Traefik serves the class of the example, nginx.
    let name = format!("test-example-{}", std::process::id());
    let options = Options { ingress_class: "nginx".to_owned(), ..Options::new(name, Mode::Node) };
    let tools = harness::cluster()?.tools();
    let cluster = bring_up::start(&options, tools, &Steps::default()).await?;
    operator::load_images(&cluster).await?;
    operator::install(&cluster, &[]).await?;
    let user = User::new(&cluster, "default").await?;
    let pebble = Pebble::of_cluster(&cluster)?;
    let bundle = user::ca_bundle(&pebble)?;
    let issuer = include_str!("../manifests/example-issuer.yaml")
        .replace("$SERVER", &pebble.directory_url())
        .replace("$CA_BUNDLE", bundle.as_str().unwrap_or_default());
    cluster.apply(&issuer).await?;
    page::serve_page(&cluster, "default", "web", "other.default.example.test").await?;
    let host = "web.default.example.test";
    cluster
        .apply_in(Some("default"), &include_str!("../manifests/example-ingress.yaml").replace("$HOST", host))
        .await?;
    let root = pebble.issuing_root(0).await?;
    let page = page::await_page(&cluster, &format!("https://{host}/hostname"), &root, harness::TIMEOUT).await;
    ensure!(page.with_context(|| user.log())? == "web");
    helm(&cluster, &["test", operator::NAME, "--namespace", operator::NAME, "--timeout=60s"]).await?;
    cluster.end()
}

/// The scenarios that are also told without a node, in `apiserver_issuance.rs`.
macro_rules! shared {
    ($($scenario:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $scenario() -> Result<()> {
            let _with_others = ALONE.read().await;
            scenario("shared", async |user, _| {
                user.create_cluster_issuer(&user.namespace, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
                scenarios::$scenario(user).await
            })
            .await
        })+
    };
}

e2e::each_scenario!(shared);

#[tokio::test]
async fn no_request_of_ours_is_refused() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("rights", async |user, namespace| {
        let pebble = Pebble::in_cluster(user.cluster, &Settings::calm()).await?;
        let issuer = namespace.name();
        let mark = AuditMark::now(user.cluster)?;
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        user.apply_ingress("web", &[user.host("web")], issuer_annotation(issuer)).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        let refused: Vec<_> = mark
            .events()?
            .into_iter()
            .filter(|event| {
                event.user().starts_with("system:serviceaccount:acme-operator:")
                    && event.status() == Some(403)
            })
            // In a namespace that goes, everything is refused to everybody.
            .filter(|event| event.namespace().is_none_or(|namespace| namespace == user.namespace))
            .collect();
        ensure!(refused.is_empty(), "{refused:?}");
        Ok(())
    })
    .await
}
