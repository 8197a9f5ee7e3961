//! The whole way from an annotated Ingress to its Secret, with a real API server, Pebble and Traefik: our programs are plain
//! processes with the rights that the chart gives them, so that they can be ended at every step.

use std::{path::Path, sync::OnceLock, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use crds::{
    acme::Order,
    certmanager::{Certificate, CertificateRequest},
};
use e2e::{
    cert_manager_fixture::{Completeness, KeyAlgorithm, Plan},
    harness,
    operator::{self, Processes},
    scenarios,
    user::{self, User, issuer_annotation, secret_value},
};
use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use testbed::{
    audit::AuditMark,
    bring_up,
    cluster::{self, Cluster, Mode, Options},
    http::{self, Trust},
    paths,
    pebble::Pebble,
    progress::Steps,
    tools::Tools,
};
use tokio::{
    sync::RwLock,
    time::{Instant, sleep},
};

/// A cluster with our programs in it. Who has the lock for writing may stop them.
struct World {
    cluster: Cluster,
    processes: RwLock<Processes>,
}

/// The one that all tests here share: our programs serve all of its namespaces.
fn world() -> Result<&'static World> {
    static WORLD: OnceLock<Result<World, String>> = OnceLock::new();
    harness::start_once(&WORLD, async || {
        let name = format!("test-issuance-{}", std::process::id());
        let options = Options::new(name, Mode::ControlPlane);
        let cluster = bring_up::start(&options, &Tools::seen_at(paths::cache()?), &Steps::default()).await?;
        let binaries = Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("a folder")?;
        // A leader that is killed would have to be waited for.
        let flags = ["--leader-elect=false", "--certificate-request-minimum-backoff-duration=3s"];
        let flags = [operator::VERBOSE, flags].concat();
        let processes = Processes::start(&cluster, binaries, &flags).await?;
        Ok(World { cluster, processes: RwLock::new(processes) })
    })
}

impl World {
    /// A user in a fresh namespace, with a ClusterIssuer of the same name.
    async fn user(&self, name: &str) -> Result<User<'_>> {
        harness::create_namespace(&self.cluster.client().await?, name).await?;
        let user = User::new(&self.cluster, name).await?;
        user.create_cluster_issuer(name, &Pebble::of_cluster(&self.cluster)?, json!({})).await?;
        Ok(user)
    }
}

#[tokio::test]
async fn killed_after_every_step_it_comes_to_one_certificate_with_one_key() -> Result<()> {
    let world = world()?;
    let mut processes = world.processes.write().await;
    let cluster = &world.cluster;
    let user = world.user("killed").await?;
    let mut steps = 0;
    for step in 1.. {
        let name = format!("web-{step}");
        let began = Instant::now();
        let mark = AuditMark::now(cluster)?;
        processes.start_operator(cluster, &[(::operator::failpoint::KILL_AFTER, &step.to_string())]).await?;
        let hosts = [user.host(&name)];
        user.apply_ingress(&name, &hosts, issuer_annotation("killed")).await?;
        // It ends by itself, or comes to the end without having so many steps.
        let ended = loop {
            let url = format!("http://{}:{}/livez", cluster::NODE_ADDRESS, 9403);
            if http::get(&cluster.network(), &url, &Trust::Nothing).await.is_err()
                && cluster.log_tail(operator::NAME, 3).contains("failpoint")
            {
                break true;
            }
            let certificates = user.api::<Certificate>();
            if certificates.get_opt(&name).await?.as_ref().is_some_and(user::is_issued) {
                // What is cleaned up afterwards has its steps too.
                user.await_quiet().await?;
                break http::get(&cluster.network(), &url, &Trust::Nothing).await.is_err();
            }
            ensure!(
                began.elapsed() < harness::TIMEOUT,
                "step {step}: it neither ends nor issues; {}",
                user.log()
            );
            sleep(Duration::from_millis(20)).await;
        };
        processes.start_operator(cluster, &[]).await?;
        let certificate = user.await_issued(&name, harness::TIMEOUT).await?;
        let revision = certificate.status.and_then(|status| status.revision);
        ensure!(revision == Some(1), "step {step}: revision {revision:?}");
        let requests = user.names::<CertificateRequest>().await?;
        let requests: Vec<_> =
            requests.iter().filter(|request| request.starts_with(&format!("{name}-"))).collect();
        ensure!(requests.len() == 1, "step {step}: {requests:?}");
        let orders = user.names::<Order>().await?;
        let orders = orders.iter().filter(|order| order.starts_with(&format!("{name}-"))).count();
        ensure!(orders == 1, "step {step}: {orders} Orders");
        let keys = operator::writes(&mark, |namespace| namespace == Some("killed"))?
            .iter()
            .filter(|event| {
                event.verb == "create" && event.resource() == "secrets" && event.status() == Some(201)
            })
            .count();
        ensure!(keys == 1, "step {step}: {keys} keys were made");
        eprintln!("step {step}: {:.1?}", began.elapsed());
        if !ended {
            break;
        }
        steps = step;
        ensure!(steps < 100, "it never comes to an end without being killed");
    }
    scenarios::await_no_leftovers(&user).await?;
    println!("killed after each of {steps} steps");
    ensure!(steps >= 20, "only {steps} steps");
    Ok(())
}

#[tokio::test]
async fn a_restart_with_everything_issued_writes_nothing() -> Result<()> {
    let world = world()?;
    let mut processes = world.processes.write().await;
    let user = world.user("restart").await?;
    for index in 0..5 {
        let name = format!("web-{index}");
        user.apply_ingress(&name, &[user.host(&name)], issuer_annotation("restart")).await?;
        user.await_issued(&name, harness::TIMEOUT).await?;
    }
    scenarios::await_no_leftovers(&user).await?;
    processes.stop_operator(&world.cluster).await?;
    let mark = AuditMark::now(&world.cluster)?;
    processes.start_operator(&world.cluster, &[]).await?;
    processes.await_operator(&world.cluster).await?;
    // Long enough for each object to be reconciled. Other tests leave issuers behind whose servers have ended with them: those
    // have something new to say.
    harness::assert_stays("the operator writes nothing", harness::QUIET, async || {
        let mut writes = operator::writes(&mark, |_| true)?;
        writes.retain(|event| {
            event.namespace() == Some("restart") || event.request_uri.contains("/clusterissuers/restart/")
        });
        ensure!(writes.is_empty(), "{writes:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_cert_manager_has_issued_is_taken_over_without_a_write() -> Result<()> {
    let world = world()?;
    let mut processes = world.processes.write().await;
    let user = world.user("takeover").await?;
    processes.stop_operator(&world.cluster).await?;
    #[expect(clippy::disallowed_methods, reason = "real certificates are valid at the real time")]
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
    let fixture = Plan::fresh("takeover", 10, Completeness::Running, now);
    let fixture = Plan { key: KeyAlgorithm::Rsa, ..fixture };
    fixture.build(&user.client).await?;
    let mark = AuditMark::now(&world.cluster)?;
    processes.start_operator(&world.cluster, &[]).await?;
    processes.await_operator(&world.cluster).await?;
    // Long enough for each object to be reconciled.
    harness::assert_stays("the operator writes nothing", harness::QUIET, async || {
        for namespace in fixture.namespaces() {
            let writes = operator::writes(&mark, |of| of == Some(&namespace))?;
            ensure!(writes.is_empty(), "{writes:?}");
        }
        Ok(())
    })
    .await?;
    for namespace in fixture.namespaces() {
        let read = mark.events()?.into_iter().any(|event| {
            event.user() == operator::USER
                && event.resource() == "secrets"
                && event.namespace() == Some(&namespace)
        });
        ensure!(read, "nobody looked at {namespace}");
    }
    Ok(())
}

/// The scenarios that are also told in Pods, in `e2e_issuance.rs`.
macro_rules! shared {
    ($($scenario:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $scenario() -> Result<()> {
            let world = world()?;
            let _processes = world.processes.read().await;
            let name = stringify!($scenario).replace('_', "-");
            scenarios::$scenario(&world.user(&name).await?).await
        })+
    };
}

e2e::each_scenario!(shared);

#[tokio::test]
async fn an_ingress_is_edited_in_place_and_is_as_it_was_afterwards() -> Result<()> {
    let world = world()?;
    let _processes = world.processes.read().await;
    let user = world.user("in-place").await?;
    let mut annotations = issuer_annotation("in-place");
    annotations["acme.cert-manager.io/http01-edit-in-place"] = "true".into();
    user.apply_ingress("web", &[user.host("web")], annotations).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    scenarios::await_no_leftovers(&user).await?;
    let rules = user.api::<Ingress>().get("web").await?.spec.and_then(|spec| spec.rules).unwrap_or_default();
    let paths: Vec<_> = rules.iter().flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths)).collect();
    ensure!(rules.len() == 1 && paths.len() == 1 && paths[0].path.as_deref() == Some("/"), "{rules:?}");
    Ok(())
}

#[tokio::test]
async fn a_foreign_secret_is_never_overwritten() -> Result<()> {
    let world = world()?;
    let _processes = world.processes.read().await;
    let user = world.user("foreign").await?;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "web" },
        "stringData": { "tls.crt": "theirs", "tls.key": "theirs" },
        "type": "kubernetes.io/tls",
    }))?;
    user.api::<Secret>().create(&PostParams::default(), &secret).await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("foreign")).await?;
    let told = user.await_certificate("web", "say whose the Secret is", harness::TIMEOUT, |it| {
        let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
        crds::condition::find(conditions, "Ready").is_some_and(|ready| {
            ready.message.as_deref().is_some_and(|message| message.contains("left alone"))
        })
    });
    told.await?;
    harness::assert_stays("the Secret is left alone", Duration::from_secs(1), async || {
        let secret = user.api::<Secret>().get("web").await?;
        ensure!(secret_value(Some(&secret), "tls.crt") == b"theirs", "the Secret was overwritten");
        ensure!(user.names::<CertificateRequest>().await?.is_empty(), "a certificate was requested");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_refusal_stands_on_the_certificate_with_the_time_of_the_next_attempt() -> Result<()> {
    let world = world()?;
    let _processes = world.processes.read().await;
    let user = world.user("refused").await?;
    user.apply_ingress("web", &["www.blocked.example.test".to_owned()], issuer_annotation("refused")).await?;
    let failed = user.await_certificate("web", "say why", harness::TIMEOUT, |it| {
        let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
        crds::condition::find(conditions, "Issuing").is_some_and(|issuing| {
            issuing.status == crds::condition::ConditionStatus::False
                && issuing.message.as_deref().is_some_and(|message| {
                    message.contains("rejectedIdentifier") && message.contains("the next attempt is at")
                })
        })
    });
    let failed = failed.await?.status.context("a status")?;
    ensure!(failed.failed_issuance_attempts == Some(1) && failed.last_failure_time.is_some(), "{failed:?}");
    // It tries again by itself, and a change of the spec at once.
    user.await_certificate("web", "fail again", harness::TIMEOUT, |it| {
        it.status.as_ref().and_then(|status| status.failed_issuance_attempts) >= Some(2)
    })
    .await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("refused")).await?;
    let issued = user.await_issued("web", harness::TIMEOUT).await?.status.context("a status")?;
    ensure!(issued.failed_issuance_attempts.is_none() && issued.last_failure_time.is_none(), "{issued:?}");
    Ok(())
}

#[tokio::test]
async fn the_server_is_asked_when_to_renew_and_told_what_is_replaced() -> Result<()> {
    let world = world()?;
    let _processes = world.processes.read().await;
    let user = world.user("ari").await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("ari")).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    // It is time to ask.
    let certificates = user.api::<Certificate>();
    let due = json!({ "status": { "acme": { "ari": { "nextCheck": "2026-01-01T00:00:00Z" } } } });
    certificates.patch_status("web", &PatchParams::default(), &Patch::Merge(due)).await?;
    let asked = user.await_certificate("web", "know when to renew", harness::TIMEOUT, |it| {
        let ari = it.status.as_ref().and_then(|status| status.acme.as_ref()?.ari.clone());
        ari.is_some_and(|ari| ari.suggested_window.is_some() && ari.last_error.is_none())
    });
    let status = asked.await?.status.context("a status")?;
    let ari = status.acme.and_then(|acme| acme.ari).context("renewal information")?;
    let window = ari.suggested_window.context("a window")?;
    let (start, end) = (window.start.context("a start")?.0, window.end.context("an end")?.0);
    let renewal = status.renewal_time.context("a time")?.0;
    ensure!(start <= renewal && renewal <= end, "{renewal} is not from {start} to {end}");
    ensure!(ari.next_check.context("a time")?.0 > ari.last_checked.context("a time")?.0);
    // As `cmctl renew` does it.
    let issuing = json!({ "status": { "conditions": [{
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered",
    }] } });
    certificates.patch_status("web", &PatchParams::default(), &Patch::Merge(issuing)).await?;
    user.await_certificate("web", "be issued again", harness::TIMEOUT, |it| {
        user::is_issued(it) && it.status.as_ref().and_then(|status| status.revision) == Some(2)
    })
    .await?;
    let orders = user.api::<Order>().list(&ListParams::default()).await?;
    ensure!(orders.items.iter().any(|order| order.spec.replaces.is_some()), "nothing is replaced");
    Ok(())
}

#[tokio::test]
async fn what_is_asked_for_by_annotations_is_in_the_certificate() -> Result<()> {
    let world = world()?;
    let _processes = world.processes.read().await;
    let user = world.user("annotated").await?;
    let mut annotations = issuer_annotation("annotated");
    annotations["cert-manager.io/private-key-algorithm"] = "ECDSA".into();
    annotations["cert-manager.io/private-key-encoding"] = "PKCS8".into();
    annotations["cert-manager.io/secret-template"] = r#"{"labels":{"team":"web"}}"#.into();
    user.apply_ingress("web", &[user.host("web")], annotations).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    let secret = user.api::<Secret>().get("web").await?;
    let key = String::from_utf8_lossy(secret_value(Some(&secret), "tls.key")).into_owned();
    ensure!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "it is not PKCS#8");
    ensure!(secret.labels().get("team").map(String::as_str) == Some("web"));
    ensure!(secret.annotations()["cert-manager.io/alt-names"] == user.host("web"));
    if secret.type_.as_deref() != Some("kubernetes.io/tls") {
        bail!("{:?}", secret.type_);
    }
    Ok(())
}
