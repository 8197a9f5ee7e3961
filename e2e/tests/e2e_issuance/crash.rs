//! The end of the operator in the middle of its work: a crash of its container, which the kubelet starts again, and the loss of its Pod.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use crds::certmanager::Certificate;
use e2e::{
    harness, operator,
    user::{self, User, issuer_annotation},
};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use testbed::{
    audit::{AuditEvent, AuditMark},
    pebble::Pebble,
};
use tokio::time::sleep;

use crate::{MEASURING, speed::serve_ingresses, with_user};

/// A container of the operator.
struct Container {
    pod: String,
    /// The process ID on this host.
    process: Pid,
    restarts: i32,
}

impl Container {
    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.process, signal)?)
    }
}

fn pods(user: &User<'_>) -> Api<Pod> {
    Api::namespaced(user.client.clone(), operator::NAME)
}

fn of_operator() -> ListParams {
    ListParams::default().labels("app.kubernetes.io/component=controller")
}

/// Installs the chart with Pods that have never crashed: the kubelet restarts a container immediately only the first time.
async fn install_new_pods(user: &User<'_>, flags: &[&str]) -> Result<()> {
    for pod in pods(user).list(&of_operator()).await? {
        pods(user).delete(&pod.name_any(), &DeleteParams::default()).await?;
    }
    operator::install(user.cluster, flags).await
}

/// The containers of all replicas that are running.
async fn containers(user: &User<'_>) -> Result<Vec<Container>> {
    let mut found = Vec::new();
    for pod in pods(user).list(&of_operator()).await? {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        for status in statuses {
            let id = status.container_id.as_deref().and_then(|id| id.strip_prefix("containerd://"));
            if let Some(process) = id.and_then(process_of) {
                found.push(Container { pod: pod.name_any(), process, restarts: status.restart_count });
            }
        }
    }
    Ok(found)
}

/// The process of a container, by the name of its control group.
fn process_of(container: &str) -> Option<Pid> {
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let is_in_container = |process: &fs::DirEntry| {
        let groups = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        groups.contains(container)
    };
    let process = processes.into_iter().find(is_in_container)?;
    process.file_name().to_str()?.parse().ok().map(Pid::from_raw)
}

async fn lease(user: &User<'_>) -> Result<(String, i32)> {
    let leases: Api<Lease> = Api::namespaced(user.client.clone(), "kube-system");
    let spec = leases.get("cert-manager-controller").await?.spec.context("the Lease has no spec")?;
    Ok((spec.holder_identity.unwrap_or_default(), spec.lease_transitions.unwrap_or_default()))
}

/// The operator's process is killed when a third of 50 Ingresses have their certificate. The kubelet starts it again, it resumes as the
/// leader without waiting for its own Lease, and no certificate is issued twice.
#[tokio::test]
async fn crash_of_the_container_costs_seconds() -> Result<()> {
    const COUNT: usize = 50;
    let _measuring = MEASURING.write().await;
    with_user("crash", async |user, namespace| {
        let issuer = namespace.name();
        let pebble = Pebble::of_cluster(user.cluster)?;
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let root = pebble.issuing_root(0).await?;
        install_new_pods(user, &[]).await?;
        let undisturbed = serve_ingresses(user, issuer, &root, "calm", COUNT).await?;
        user.await_quiet().await?;

        let before = lease(user).await?;
        let mark = AuditMark::now(user.cluster)?;
        let crash = async {
            await_certificates(user, "crash", COUNT / 3).await?;
            let containers = containers(user).await?;
            let [container] = &containers[..] else { bail!("{} containers", containers.len()) };
            let killed = now();
            container.signal(Signal::SIGKILL)?;
            anyhow::Ok((killed, container.pod.clone()))
        };
        let (disturbed, (killed, pod)) =
            tokio::try_join!(serve_ingresses(user, issuer, &root, "crash", COUNT), crash)?;
        let (started, resumed) = resumption(&mark, killed)?;
        println!(
            "{COUNT} Ingresses were served in {undisturbed:.1?}, and with a crash in {disturbed:.1?}; after the crash, the \
             first request was sent after {started:.1?}, and the first write after {resumed:.1?}"
        );

        let after = containers(user).await?;
        ensure!(
            after.len() == 1 && after[0].pod == pod && after[0].restarts == 1,
            "the container was not restarted in its Pod, once"
        );
        ensure!(lease(user).await? == before, "the Lease changed hands: {before:?} {:?}", lease(user).await?);
        for index in 0..COUNT {
            let certificate = user.await_issued(&format!("crash{index}"), harness::TIMEOUT).await?;
            let status = certificate.status.unwrap_or_default();
            ensure!(status.revision == Some(1) && status.failed_issuance_attempts.is_none(), "{status:?}");
        }
        // An idle machine needs 2 s. Waiting for the Lease would take 15 s.
        ensure!(resumed <= Duration::from_secs(6), "the operator resumed {resumed:?} after the crash");
        ensure!(
            disturbed <= undisturbed * 3 / 2 + Duration::from_secs(5),
            "the crash cost {:?}",
            disturbed.saturating_sub(undisturbed)
        );
        Ok(())
    })
    .await
}

/// Waits until some Certificates are issued whose names begin with `prefix`.
async fn await_certificates(user: &User<'_>, prefix: &str, count: usize) -> Result<()> {
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let certificates = user.api::<Certificate>().list(&ListParams::default()).await?;
        let issued = |it: &&Certificate| it.name_any().starts_with(prefix) && user::is_issued(it);
        let number = certificates.iter().filter(issued).count();
        if number >= count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "only {number} certificates were issued; {}", user.log());
        sleep(Duration::from_millis(50)).await;
    }
}

/// How long after a crash the next process has sent its first request, which is for the Lease, and its first write for a certificate.
fn resumption(mark: &AuditMark, killed: Timestamp) -> Result<(Duration, Duration)> {
    let mut events = mark.events()?;
    events.retain(|event| event.user() == operator::USER && event.received() > killed);
    events.sort_by_key(AuditEvent::received);
    let first = events.iter().position(|event| event.verb == "get" && event.resource() == "leases");
    let next = &events[first.context("no request for the Lease after the crash")?..];
    let write = next.iter().find(|event| event.is_write() && event.resource() != "leases");
    let after = |event: &AuditEvent| Duration::try_from(event.received().duration_since(killed));
    Ok((after(&next[0])?, after(write.context("no write after the crash")?)?))
}

/// The leader's process stops, as if its node were lost: another replica issues the next certificate within 20 s.
#[tokio::test]
async fn lost_leader_is_replaced_in_20_s() -> Result<()> {
    let _measuring = MEASURING.write().await;
    with_user("lost", async |user, namespace| {
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
        install_new_pods(user, &["--set=replicaCount=2"]).await?;
        user.apply_ingress("before", &[user.host("before")], issuer_annotation(issuer)).await?;
        user.await_issued("before", harness::TIMEOUT).await?;
        let (holder, _) = lease(user).await?;
        let containers = containers(user).await?;
        ensure!(containers.len() == 2, "{} containers", containers.len());
        let leads = |it: &&Container| holder.starts_with(&format!("{}_", it.pod));
        let leader = containers.iter().find(leads).with_context(|| format!("{holder} is no Pod"))?;
        leader.signal(Signal::SIGSTOP)?;
        let began = Instant::now();
        user.apply_ingress("after", &[user.host("after")], issuer_annotation(issuer)).await?;
        let replaced = user.await_issued("after", harness::TIMEOUT).await;
        let time = began.elapsed();
        // It has lost the Lease, so it ends, and the kubelet starts it again.
        leader.signal(Signal::SIGCONT)?;
        replaced?;
        println!("the loss of the leader cost {time:.1?}, the issuance included");
        ensure!(lease(user).await?.0 != holder, "the Lease did not change hands");
        operator::install(user.cluster, &[]).await?;
        // Up to 15 s for the Lease, 2 s until the next attempt, and the issuance.
        ensure!(time <= Duration::from_secs(20), "the loss of the leader cost {time:?}");
        Ok(())
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "compared with the time that a real API server wrote")]
fn now() -> Timestamp {
    Timestamp::now()
}
