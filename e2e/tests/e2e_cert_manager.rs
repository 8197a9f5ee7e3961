//! A migration from the real cert-manager during an issuance to a release of our own, and back.
//!
//! Knows the commands of the README's migration section; must not know the operator's code. Next: `e2e_switch.rs` for a migration
//! within cert-manager's release.

mod support;

use anyhow::{Result, ensure};
use e2e::{cert_manager, harness, operator, scenarios, user::User};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::json;
use support::migration::{
    CERT_MANAGER_TIMEOUT, ISSUER, NAMESPACE, TAKEOVER_TIMEOUT, account, annotate, await_no_pods,
    await_placed, await_presented, ensure_kept, ensure_one_order, scale_solver,
};
use testbed::{helm::helm, pebble::Pebble};

/// The operator keeps what cert-manager issued, resumes what it started, and uses the same ACME account. After a return to
/// cert-manager, all certificates are kept again.
#[tokio::test]
async fn cert_manager_takeover_resumes_and_reverts() -> Result<()> {
    let cluster = harness::start_node("takeover").await?;
    operator::load_images(&cluster).await?;
    cert_manager::install_definitions(&cluster).await?;
    let cert_manager = cert_manager::prepare(&cluster, &[]).await?;
    harness::create_namespace(&cluster.client().await?, NAMESPACE).await?;
    let user = User::new(&cluster, NAMESPACE).await?;
    let pebble = Pebble::of_cluster(&cluster)?;

    let theirs = cluster.start_bound(cert_manager.clone())?;
    user.create_cluster_issuer(ISSUER, &pebble, json!({})).await?;
    let account_before = account(&user).await?;
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
    ensure!(account_before == account(&user).await?, "the operator created another ACME account");
    ensure_kept(&user, &all).await?;

    // Without its solver, the operator can't complete what it orders.
    scale_solver(&user, operator::NAME, 0).await?;
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
