//! cert-manager itself is taken over from in the middle of its work, and gone back to.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::{
    acme::Challenge,
    certmanager::{CertificateRequest, ClusterIssuer},
};
use e2e::{
    cert_manager, harness, operator, scenarios,
    user::{User, issuer_annotation, secret_value},
};
use k8s_openapi::api::{
    core::v1::{Pod, Secret},
    networking::v1::Ingress,
};
use kube::{Api, api::ListParams};
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

/// How long cert-manager may take for a certificate: 20 s on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_mins(3);

/// How soon what cert-manager has begun is to be done.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn cert_manager_is_taken_over_in_the_middle_of_its_work_and_gone_back_to() -> Result<()> {
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
    let done = user.await_secret("done", PATIENCE).await?;
    annotate(&user, "begun").await?;
    await_presented(&user).await?;
    drop(theirs);

    // As the README has it.
    let flags = ["--take-ownership", "--force-conflicts", "--set=clusterResourceNamespace=cert-manager"];
    operator::install(&cluster, &flags).await?;
    let begun = user.await_secret("begun", SOON).await?;
    user.await_issued("done", SOON).await?;
    annotate(&user, "ours").await?;
    let ours = user.await_secret("ours", SOON).await?;
    let all = [("done", done), ("begun", begun), ("ours", ours)];
    scenarios::await_no_leftovers(&user).await?;
    await_no_pods(&user).await?;
    ensure!(user.names::<Ingress>().await?.len() == all.len());
    ensure!(account == self::account(&user).await?, "another account was made");
    ensure_kept(&user, &all).await?;

    helm(&cluster, &["uninstall", operator::NAME, "--namespace", operator::NAME, "--wait"]).await?;
    let theirs = cluster.start_bound(cert_manager)?;
    annotate(&user, "theirs").await?;
    user.await_secret("theirs", PATIENCE).await?;
    ensure_kept(&user, &all).await?;
    drop(theirs);
    cluster.end()
}

async fn annotate(user: &User<'_>, name: &str) -> Result<()> {
    user.apply_ingress(name, &[user.host(name)], issuer_annotation(ISSUER)).await
}

/// The URL of the issuer's account.
async fn account(user: &User<'_>) -> Result<String> {
    let issuers: Api<ClusterIssuer> = Api::all(user.client.clone());
    let status = issuers.get_status(ISSUER).await?.status.context("no status")?;
    status.acme.and_then(|acme| acme.uri).context("the issuer has no account")
}

/// Waits until a challenge is shown: the middle of an order.
async fn await_presented(user: &User<'_>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let challenges = user.api::<Challenge>().list(&ListParams::default()).await?;
        let presented =
            |it: &Challenge| it.status.as_ref().is_some_and(|status| status.presented == Some(true));
        if challenges.items.iter().any(presented) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "no challenge is shown; {}",
            user.cluster.log_tail(cert_manager::NAME, 40)
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the Pods are gone that answered cert-manager's challenges.
async fn await_no_pods(user: &User<'_>) -> Result<()> {
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let left = user.names::<Pod>().await?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "still there: {left:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Nobody has issued anew what was good.
async fn ensure_kept(user: &User<'_>, all: &[(&str, Secret)]) -> Result<()> {
    for (name, before) in all {
        let now = user.api::<Secret>().get(name).await?;
        ensure!(
            secret_value(Some(&now), "tls.crt") == secret_value(Some(before), "tls.crt"),
            "{name} was issued anew"
        );
    }
    let requests = user.names::<CertificateRequest>().await?;
    ensure!(requests.iter().all(|name| name.ends_with("-1")), "{requests:?}");
    Ok(())
}
