//! A migration within the Helm release that cert-manager's own chart created: an upgrade to our chart with the same values file, a
//! rollback, and another upgrade, each with an order in progress.
//!
//! Knows the commands of docs/MIGRATION.md; must not know the operator's code. Next: `e2e_cert_manager.rs` for a migration to a release
//! of our own.

mod support;

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{cert_manager, harness, operator, scenarios, user::User};
use serde_json::json;
use support::migration::{
    CERT_MANAGER_TIMEOUT, ISSUER, NAMESPACE, TAKEOVER_TIMEOUT, account, annotate, await_no_pods,
    await_placed, await_presented, ensure_kept, ensure_one_order, scale_solver,
};
use testbed::{cluster::Cluster, helm::helm, pebble::Pebble};
use xtask::paths;

const RELEASE: &str = cert_manager::NAME;

/// How long the first certificate after an upgrade may take. Helm deletes the role with which cert-manager would release its Lease, so
/// the Lease has to run out first.
const LEASE_TIMEOUT: Duration = Duration::from_mins(2);

/// Nothing is issued again or written, the ACME account stays, and the orders in progress are finished, in both directions. The second
/// upgrade gives the operator's Deployment the name of cert-manager's.
#[tokio::test]
async fn upgrade_to_our_chart_and_rollback_keep_everything() -> Result<()> {
    let cluster = harness::start_node("switch").await?;
    operator::load_images(&cluster).await?;
    cert_manager::load_images(&cluster).await?;
    let values = paths::workspace().join("e2e/tests/data/values/first-steps.yaml");
    cert_manager::install(&cluster, &values).await?;
    harness::create_namespace(&cluster.client().await?, NAMESPACE).await?;
    let user = User::new(&cluster, NAMESPACE).await?;
    user.create_cluster_issuer(ISSUER, &Pebble::of_cluster(&cluster)?, json!({})).await?;
    let account_before = account(&user).await?;
    annotate(&user, "done").await?;
    let done = user.await_secret("done", CERT_MANAGER_TIMEOUT).await?;
    annotate(&user, "started").await?;
    await_presented(&user).await?;
    let started_order = await_placed(&user, "started").await?;

    let values = format!("--values={}", values.display());
    operator::upgrade(&cluster, RELEASE, &[&values]).await?;
    let started = user.await_secret("started", LEASE_TIMEOUT).await?;
    annotate(&user, "ours").await?;
    let ours = user.await_secret("ours", TAKEOVER_TIMEOUT).await?;
    ensure_one_order(&user, "started", &started_order).await?;
    scenarios::await_no_leftovers(&user).await?;
    await_no_pods(&user).await?;
    let mut all = vec![("done", done), ("started", started), ("ours", ours)];
    ensure_kept(&user, &all).await?;

    // Without its solver, the operator can't complete what it orders.
    scale_solver(&user, RELEASE, 0).await?;
    annotate(&user, "returned").await?;
    let returned_order = await_placed(&user, "returned").await?;
    rollback(&cluster).await?;
    all.push(("returned", user.await_secret("returned", CERT_MANAGER_TIMEOUT).await?));
    ensure_one_order(&user, "returned", &returned_order).await?;
    annotate(&user, "theirs").await?;
    all.push(("theirs", user.await_secret("theirs", CERT_MANAGER_TIMEOUT).await?));
    ensure_kept(&user, &all).await?;

    operator::upgrade(&cluster, RELEASE, &[&values, "--set=nameOverride=cert-manager"]).await?;
    annotate(&user, "again").await?;
    all.push(("again", user.await_secret("again", LEASE_TIMEOUT).await?));
    for (name, _) in &all {
        user.await_issued(name, TAKEOVER_TIMEOUT).await?;
    }
    ensure_kept(&user, &all).await?;
    ensure!(account_before == account(&user).await?, "another ACME account was created");
    cluster.end()
}

/// Returns to the first revision, and waits until cert-manager's webhook answers.
async fn rollback(cluster: &Cluster) -> Result<()> {
    let arguments = ["rollback", RELEASE, "1", "--namespace", RELEASE, "--wait", "--timeout=180s"];
    helm(cluster, &arguments).await?;
    cert_manager::await_webhook(cluster).await
}
