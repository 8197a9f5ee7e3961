//! Gateways in a cluster with a node, where Traefik serves them: taken over from the real cert-manager and back, issued fast, and renewed
//! while they are served.
//!
//! Knows the commands of the README's migration section; must not know the operator's code. Next: `e2e::gateways`.

mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::gateway::HttpRoute;
use e2e::{
    cert_manager, gateways, harness, operator, scenarios,
    user::{User, issuer_annotation},
};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use serde_json::json;
use support::migration::{
    CERT_MANAGER_TIMEOUT, ISSUER, NAMESPACE, TAKEOVER_TIMEOUT, await_no_pods, await_placed, await_presented,
    ensure_kept, ensure_one_order, scale_solver,
};
use testbed::{audit::AuditMark, helm::helm, pebble::Pebble};
use tokio::time::{Instant, sleep};

/// The flags by which cert-manager serves Gateways.
const GATEWAY_FLAGS: [&str; 1] = ["--enable-gateway-api"];

/// The operator keeps what cert-manager issued for Gateways, and finishes what it started, and the same in the other direction.
/// Meanwhile, the operator issues within 1.5 s, and a renewal is served without a gap.
#[tokio::test]
async fn gateways_are_taken_over_and_served() -> Result<()> {
    let cluster = harness::start_node_with("gateways", true).await?;
    operator::load_images(&cluster).await?;
    cert_manager::install_definitions(&cluster).await?;
    let cert_manager = cert_manager::prepare(&cluster, &GATEWAY_FLAGS).await?;
    harness::create_namespace(&cluster.client().await?, NAMESPACE).await?;
    let user = User::new(&cluster, NAMESPACE).await?;
    let pebble = Pebble::of_cluster(&cluster)?;
    let annotation = issuer_annotation(ISSUER);

    let theirs = cluster.start_bound(cert_manager.clone())?;
    user.create_cluster_issuer(ISSUER, &pebble, gateways::solvers()).await?;
    gateways::apply_simple(&user, "done", &annotation).await?;
    let done = user.await_secret("done", CERT_MANAGER_TIMEOUT).await.with_context(|| their_log(&user))?;
    gateways::apply_simple(&user, "started", &annotation).await?;
    await_presented(&user).await?;
    let started_order = await_placed(&user, "started").await?;
    drop(theirs);
    let left = user.names::<HttpRoute>().await?;
    ensure!(left.len() == 1, "cert-manager has left the route of its challenge: {left:?}");

    let mark = AuditMark::now(&cluster)?;
    let flags = ["--take-ownership", "--force-conflicts", "--set=clusterResourceNamespace=cert-manager"];
    operator::install(&cluster, &flags).await?;
    let started = user.await_secret("started", TAKEOVER_TIMEOUT).await?;
    user.await_issued("done", TAKEOVER_TIMEOUT).await?;
    ensure_one_order(&user, "started", &started_order).await?;
    scenarios::await_no_leftovers(&user).await?;
    await_no_pods(&user).await?;
    let routes = user.names::<HttpRoute>().await?;
    ensure!(routes.is_empty(), "HTTPRoutes of challenges are left: {routes:?}");
    let of_routes = |verb: &str| {
        let events = operator::writes(&mark, |namespace| namespace == Some(NAMESPACE))?;
        Ok::<_, anyhow::Error>(events.iter().any(|it| it.verb == verb && it.resource() == "httproutes"))
    };
    ensure!(of_routes("delete")? && of_routes("create")?, "cert-manager's route was not replaced");
    let all = [("done", done), ("started", started)];
    ensure_kept(&user, &all).await?;
    let certificate = user.await_issued("done", TAKEOVER_TIMEOUT).await?;
    let parent = certificate.annotations().get("acme.cert-manager.io/http01-parentrefname");
    ensure!(parent.is_some_and(|name| name == "done"), "the parent is not on the Certificate: {parent:?}");

    gateway_gets_a_secret_in_a_second(&user).await?;
    scenarios::renewal_is_served_without_a_gap(&user, "fast-0", &pebble.issuing_root(0).await?).await?;

    ensure_kept_of(&user, &all).await?;
    // Without its solver, the operator can't complete what it orders.
    scale_solver(&user, operator::NAME, 0).await?;
    gateways::apply_simple(&user, "returned", &annotation).await?;
    let returned_order = await_placed(&user, "returned").await?;
    helm(&cluster, &["uninstall", operator::NAME, "--namespace", operator::NAME, "--wait"]).await?;
    let theirs = cluster.start_bound(cert_manager)?;
    user.await_secret("returned", CERT_MANAGER_TIMEOUT).await.with_context(|| their_log(&user))?;
    ensure_one_order(&user, "returned", &returned_order).await?;
    ensure_kept_of(&user, &all).await?;
    drop(theirs);
    cluster.end()
}

fn their_log(user: &User<'_>) -> String {
    format!("cert-manager's log ends with\n{}", user.cluster.log_tail(cert_manager::NAME, 40))
}

/// [`ensure_kept`] without the condition that no other certificate was renewed.
async fn ensure_kept_of(user: &User<'_>, all: &[(&str, Secret)]) -> Result<()> {
    for (name, before) in all {
        let now = user.api::<Secret>().get(name).await?;
        ensure!(now.resource_version() == before.resource_version(), "the Secret {name} was written");
    }
    Ok(())
}

/// From the annotation of a Gateway that Traefik serves already to the Secret, and to HTTPS.
async fn gateway_gets_a_secret_in_a_second(user: &User<'_>) -> Result<()> {
    const RUNS: usize = 10;
    let root = Pebble::of_cluster(user.cluster)?.issuing_root(0).await?;
    let (mut issued, mut served) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let name = format!("fast-{run}");
        gateways::apply_simple(user, &name, &json!({})).await?;
        // Traefik applies a change immediately only if it has applied none for two seconds.
        sleep(testbed::ingress::REST).await;
        let began = Instant::now();
        gateways::apply_simple(user, &name, &issuer_annotation(ISSUER)).await?;
        user.await_secret(&name, harness::TIMEOUT).await?;
        issued.push(began.elapsed());
        user.await_served(&user.host(&name), &root, harness::TIMEOUT).await?;
        served.push(began.elapsed());
    }
    issued.sort();
    served.sort();
    let (median, longest) = (issued[RUNS / 2], issued[RUNS - 1]);
    println!(
        "annotated Gateway, {RUNS} runs: to the Secret median {median:.2?}, longest {longest:.2?}; to HTTPS median {:.2?}",
        served[RUNS / 2]
    );
    ensure!(median <= Duration::from_millis(1500), "the median is {median:?}, all runs are {issued:?}");
    Ok(())
}
