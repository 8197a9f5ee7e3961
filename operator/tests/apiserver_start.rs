//! How the operator starts in a cluster with many Certificates, with a real API server: by its audit log.
//!
//! Knows requests and objects; must not know controllers. Next: `cargo xtask bench restart`, which measures how long a start takes.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use crds::{certmanager::Certificate, condition};
use e2e::{
    cert_manager_fixture::Plan,
    harness,
    operator::{self, Processes},
    user::User,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use testbed::{
    audit::{AuditEvent, AuditMark},
    cluster::{Cluster, NODE_ADDRESS},
    http::{self, Trust},
    pebble::Pebble,
};

/// The name of the ClusterIssuer.
const ISSUER: &str = "start";

/// The folder of our programs.
fn binaries() -> Result<&'static Path> {
    Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("the binary has no folder")
}

/// Certificates in some namespaces, as cert-manager leaves them.
async fn fleet(client: &Client, count: usize, namespaces: usize) -> Result<Plan> {
    #[expect(clippy::disallowed_methods, reason = "real certificates are valid at the real time")]
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
    let plan = Plan { namespaces, ..Plan::fresh(ISSUER, count, now) };
    plan.build(client).await?;
    Ok(plan)
}

/// The reads of Secrets since a mark, by verb, without those of the issuer's account key.
fn reads(mark: &AuditMark) -> Result<(Vec<AuditEvent>, usize)> {
    let mut events = mark.events()?;
    events.retain(|it| it.user() == operator::USER && it.resource() == "secrets");
    let lists = events.iter().filter(|it| it.verb == "list").count();
    events.retain(|it| it.verb == "get" && it.namespace() != Some(operator::NAME));
    Ok((events, lists))
}

/// How often the operator has reconciled a Certificate.
async fn reconciles(cluster: &Cluster) -> Result<usize> {
    let url = format!("http://{NODE_ADDRESS}:{}/metrics", operator::METRICS_PORT);
    let text = http::get(&cluster.network(), &url, &Trust::Nothing).await?.into_body();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| {
        line.strip_prefix("certmanager_controller_sync_call_count{controller=\"certificates\"} ")
    });
    Ok(line.map(str::parse).transpose()?.unwrap_or_default())
}

async fn await_reconciles(cluster: &Cluster, count: usize) -> Result<()> {
    let deadline = tokio::time::Instant::now() + harness::TIMEOUT;
    loop {
        let done = reconciles(cluster).await?;
        if done >= count {
            return Ok(());
        }
        ensure!(tokio::time::Instant::now() < deadline, "only {done} of {count} Certificates are reconciled");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A request for each Secret took most of the time of a start. What a page does not have, or what has changed since the last start, is
/// still noticed.
#[tokio::test]
async fn secrets_are_read_in_pages() -> Result<()> {
    const COUNT: usize = 150;
    let cluster = harness::start_control_plane("start").await?;
    let user = User::new(&cluster, "default").await?;
    let mut processes = Processes::prepare(&cluster, binaries()?, &operator::VERBOSE).await?;
    user.apply_cluster_issuer(ISSUER, &Pebble::of_cluster(&cluster)?, json!({})).await?;
    let plan = fleet(&user.client, COUNT, 20).await?;
    let namespaces: Vec<_> = plan.namespaces().collect();
    let secrets = |index: usize| Api::<Secret>::namespaced(user.client.clone(), &namespaces[index]);
    secrets(0).delete("c0", &DeleteParams::default()).await?;
    let unlabelled = json!({ "metadata": { "labels": { "controller.cert-manager.io/fao": null } } });
    secrets(1).patch("c1", &PatchParams::default(), &Patch::Merge(&unlabelled)).await?;

    let mark = AuditMark::now(&cluster)?;
    processes.start_operator(&cluster, &[]).await?;
    processes.await_operator(&cluster).await?;
    await_reconciles(&cluster, COUNT).await?;
    let certificates: Api<Certificate> = Api::namespaced(user.client.clone(), &namespaces[0]);
    let lacks_secret = |it: Option<&Certificate>| {
        let conditions = it.and_then(|it| it.status.as_ref()).map_or(&[][..], |status| &status.conditions);
        condition::find(conditions, condition::READY)
            .is_some_and(|it| !condition::is_true(conditions, &it.type_))
    };
    harness::await_condition(certificates, "c0", "lack its Secret", harness::TIMEOUT, lacks_secret).await?;
    let (gets, lists) = reads(&mark)?;
    // Those two, and what the issuance of the first one reads.
    let paths: Vec<_> = gets.iter().map(|it| &it.request_uri).collect();
    ensure!(gets.len() <= 12, "the operator read {} Secrets one by one: {paths:?}", gets.len());
    // Their contents. Their metadata are what the watch begins with.
    ensure!((1..=4).contains(&lists), "the operator listed Secrets {lists} times");
    for namespace in &namespaces[1..] {
        let writes = operator::writes(&mark, |of| of == Some(namespace))?;
        ensure!(
            writes.iter().all(|it| namespace == "fixture-1" && it.resource() == "secrets"),
            "the operator wrote {writes:?}"
        );
    }
    Ok(())
}

/// An operator that serves one namespace may list Secrets nowhere else. This API server does not stream lists, as before Kubernetes 1.32.
#[tokio::test]
async fn pages_are_of_served_namespaces_only() -> Result<()> {
    const COUNT: usize = 60;
    let cluster =
        harness::start_control_plane_with("start-limited", &["--feature-gates=WatchList=false"]).await?;
    let client = cluster.client().await?;
    harness::install_definitions(&cluster).await?;
    let plan = fleet(&client, COUNT, 1).await?;
    harness::create_namespace(&client, "other").await?;
    let served: Vec<_> = plan.namespaces().collect();
    let served: Vec<_> = served.iter().map(String::as_str).collect();
    let mark = AuditMark::now(&cluster)?;
    let _processes = Processes::start_in(&cluster, binaries()?, &operator::VERBOSE, &served).await?;
    await_reconciles(&cluster, COUNT).await?;
    let rejected =
        mark.events()?.into_iter().find(|it| it.user() == operator::USER && it.status() == Some(403));
    ensure!(rejected.is_none(), "the API server rejected {rejected:?}");
    let (gets, lists) = reads(&mark)?;
    ensure!(gets.is_empty(), "the operator read {} Secrets one by one", gets.len());
    ensure!(
        lists == 2,
        "the operator listed Secrets {lists} times, and not once with metadata and once with contents"
    );
    Ok(())
}
