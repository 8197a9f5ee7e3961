//! A migration from the real cert-manager during an issuance, and back.
//!
//! Knows the commands of the README's migration section; must not know the operator's code. Next: `e2e::cert_manager`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::{
    acme::{Challenge, Order},
    certmanager::{CertificateRequest, ClusterIssuer},
};
use e2e::{
    cert_manager, harness, operator, scenarios,
    user::{User, issuer_annotation, secret_value},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret},
    networking::v1::Ingress,
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use testbed::{
    bring_up,
    cluster::{Mode, Options},
    helm::helm,
    pebble::Pebble,
};
use tokio::time::{Instant, sleep};
use xtask::progress::Steps;

const NAMESPACE: &str = "tenant";
const ISSUER: &str = "issuer";

/// How long cert-manager may take for a certificate: it needs 20 s on an idle machine.
const CERT_MANAGER_TIMEOUT: Duration = Duration::from_mins(3);

/// How long the operator may take to finish an issuance that cert-manager started.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// The operator keeps what cert-manager issued, resumes what it started, and uses the same ACME account. After a return to
/// cert-manager, all certificates are kept again.
#[tokio::test]
async fn cert_manager_takeover_resumes_and_reverts() -> Result<()> {
    let options = Options::new(format!("test-takeover-{}", std::process::id()), Mode::Node);
    let cluster = bring_up::start(&options, harness::cluster()?.tools(), &Steps::default()).await?;
    operator::load_images(&cluster).await?;
    cert_manager::install_definitions(&cluster).await?;
    let cert_manager = cert_manager::prepare(&cluster).await?;
    harness::create_namespace(&cluster.client().await?, NAMESPACE).await?;
    let user = User::new(&cluster, NAMESPACE).await?;
    let pebble = Pebble::of_cluster(&cluster)?;

    let theirs = cluster.start_bound(cert_manager.clone())?;
    user.create_cluster_issuer(ISSUER, &pebble, json!({})).await?;
    let account = account(&user).await?;
    annotate(&user, "done").await?;
    let done = user.await_secret("done", CERT_MANAGER_TIMEOUT).await?;
    annotate(&user, "started").await?;
    await_presented(&user).await?;
    let started_order = await_placed(&user, "started").await?;
    drop(theirs);

    // The flags of the README.
    let flags = ["--take-ownership", "--force-conflicts", "--set=clusterResourceNamespace=cert-manager"];
    operator::install(&cluster, &flags).await?;
    let started = user.await_secret("started", TAKEOVER_TIMEOUT).await?;
    user.await_issued("done", TAKEOVER_TIMEOUT).await?;
    annotate(&user, "ours").await?;
    let ours = user.await_secret("ours", TAKEOVER_TIMEOUT).await?;
    ensure_one_order(&user, "started", &started_order).await?;
    let all = [("done", done), ("started", started), ("ours", ours)];
    scenarios::await_no_leftovers(&user).await?;
    await_no_pods(&user).await?;
    let ingresses = user.names::<Ingress>().await?;
    ensure!(ingresses.len() == all.len(), "Ingresses of challenges are left: {ingresses:?}");
    ensure!(account == self::account(&user).await?, "the operator created another ACME account");
    ensure_kept(&user, &all).await?;

    // Without its solver, the operator can't complete what it orders.
    scale_solver(&user, 0).await?;
    annotate(&user, "returned").await?;
    let returned_order = await_placed(&user, "returned").await?;
    helm(&cluster, &["uninstall", operator::NAME, "--namespace", operator::NAME, "--wait"]).await?;
    let theirs = cluster.start_bound(cert_manager)?;
    annotate(&user, "theirs").await?;
    user.await_secret("theirs", CERT_MANAGER_TIMEOUT).await?;
    user.await_secret("returned", CERT_MANAGER_TIMEOUT).await?;
    ensure_one_order(&user, "returned", &returned_order).await?;
    ensure_kept(&user, &all).await?;
    drop(theirs);
    cluster.end()
}

async fn annotate(user: &User<'_>, name: &str) -> Result<()> {
    user.apply_ingress(name, &[user.host(name)], issuer_annotation(ISSUER)).await
}

/// The URL of the issuer's ACME account.
async fn account(user: &User<'_>) -> Result<String> {
    let issuers: Api<ClusterIssuer> = Api::all(user.client.clone());
    let status = issuers.get_status(ISSUER).await?.status.context("the issuer has no status")?;
    status.acme.and_then(|acme| acme.uri).context("the issuer has no account")
}

/// The URLs of the ACME orders for a Certificate's first request. An Order that was not placed has an empty one.
async fn order_urls(user: &User<'_>, certificate: &str) -> Result<Vec<String>> {
    let orders = user.api::<Order>().list(&ListParams::default()).await?;
    let of_request = |it: &Order| it.name_any().starts_with(&format!("{certificate}-1-"));
    let url = |it: Order| it.status.and_then(|status| status.url).unwrap_or_default();
    Ok(orders.items.into_iter().filter(of_request).map(url).collect())
}

/// Waits until an order for a Certificate is placed. Returns its URL.
async fn await_placed(user: &User<'_>, certificate: &str) -> Result<String> {
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let urls = order_urls(user, certificate).await?;
        if let [url] = urls.as_slice()
            && !url.is_empty()
        {
            return Ok(url.clone());
        }
        ensure!(Instant::now() < deadline, "no order was placed for {certificate}: {urls:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Ensures that one order was placed for a Certificate, and that it was the one with this URL.
async fn ensure_one_order(user: &User<'_>, certificate: &str, url: &str) -> Result<()> {
    let urls = order_urls(user, certificate).await?;
    ensure!(urls == [url], "the order {url} was not continued: {urls:?}");
    Ok(())
}

async fn scale_solver(user: &User<'_>, replicas: i32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(user.client.clone(), operator::NAME);
    let patch = json!({ "spec": { "replicas": replicas } });
    deployments.patch_scale(operator::SOLVER, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// Waits until a challenge is presented, so that an order is in progress.
async fn await_presented(user: &User<'_>) -> Result<()> {
    let deadline = Instant::now() + CERT_MANAGER_TIMEOUT;
    loop {
        let challenges = user.api::<Challenge>().list(&ListParams::default()).await?;
        let presented =
            |it: &Challenge| it.status.as_ref().is_some_and(|status| status.presented == Some(true));
        if challenges.items.iter().any(presented) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "no challenge is presented; {}",
            user.cluster.log_tail(cert_manager::NAME, 40)
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the Pods that answered cert-manager's challenges are deleted.
async fn await_no_pods(user: &User<'_>) -> Result<()> {
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let left = user.names::<Pod>().await?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the Pods {left:?} were not deleted");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Ensures that no certificate was re-issued.
async fn ensure_kept(user: &User<'_>, all: &[(&str, Secret)]) -> Result<()> {
    for (name, before) in all {
        let now = user.api::<Secret>().get(name).await?;
        ensure!(
            secret_value(Some(&now), "tls.crt") == secret_value(Some(before), "tls.crt"),
            "{name} was re-issued"
        );
    }
    let requests = user.names::<CertificateRequest>().await?;
    ensure!(
        requests.iter().all(|name| name.ends_with("-1")),
        "a second certificate was requested: {requests:?}"
    );
    Ok(())
}
