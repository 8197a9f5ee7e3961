//! Tenants and CAs don't delay each other: what one tenant of a real API server and two Pebbles may do, and what another notices of it.
//!
//! Knows users and objects; must not know controllers. Next: `operator/src/decision/fair_queue.rs` for the shares;
//! `cargo xtask bench isolation` measures the same with more objects.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    harness,
    noise::Noise,
    operator::Processes,
    user::{User, ca_bundle, issuer_annotation},
};
use serde_json::{Value, json};
use testbed::pebble::{Pebble, Settings};
use tokio::time::Instant;

/// What one tenant creates: more Orders than one CA may occupy at a time, as many Issuers as a namespace may, and more keys than are
/// generated during the test.
const NOISE: Noise = Noise { hanging_orders: 100, hanging_issuers: 12, large_keys: 100, shared_orders: 400 };

/// How many times as long another tenant may wait as on a quiet cluster.
const MOST_TIMES_AS_LONG: f64 = 3.0;

/// How long another tenant's own issuer and its order may take: less than a request to a CA that hangs, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn busy_tenant_and_hanging_ca_delay_no_other() -> Result<()> {
    let cluster = harness::start_control_plane("isolation").await?;
    let binaries = Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("the binary has no folder")?;
    let _processes = Processes::start(&cluster, binaries, &["--leader-elect=false"]).await?;
    let client = cluster.client().await?;
    for namespace in ["noisy", "quiet"] {
        harness::create_namespace(&client, namespace).await?;
    }
    let (noisy, quiet) = (User::new(&cluster, "noisy").await?, User::new(&cluster, "quiet").await?);
    let hanging = Pebble::in_cluster(&cluster, &Settings::calm()).await?;
    quiet.create_cluster_issuer("shared", &Pebble::of_cluster(&cluster)?, json!({})).await?;
    noisy.create_cluster_issuer("hanging", &hanging, json!({})).await?;
    let before = median(&quiet, "before").await?;
    NOISE.create(&noisy, "hanging", "shared", &hanging).await?;
    let beside = median(&quiet, "beside").await?;
    let ratio = beside.as_secs_f64() / before.as_secs_f64();
    println!("on a quiet cluster {before:.1?}, beside a busy tenant {beside:.1?}: {ratio:.1} times as long");
    ensure!(ratio < MOST_TIMES_AS_LONG, "{beside:?} instead of {before:?}; {}", quiet.log());
    // An issuer of another namespace gets its account, and an order at it.
    let began = Instant::now();
    let issuer = acme_issuer("own", &Pebble::of_cluster(&cluster)?)?;
    cluster.apply_in(Some(&quiet.namespace), &issuer.to_string()).await?;
    quiet.apply_ingress("web", &[quiet.host("web")], json!({ "cert-manager.io/issuer": "own" })).await?;
    quiet.await_issued("web", harness::TIMEOUT).await?;
    ensure!(began.elapsed() < LIMIT, "its own issuer: issued after {:?}", began.elapsed());
    Ok(())
}

/// The median of how long annotated Ingresses take, one after another.
async fn median(user: &User<'_>, prefix: &str) -> Result<Duration> {
    let mut times = Vec::new();
    for number in 0..5 {
        times.push(issue(user, &format!("{prefix}-{number}")).await?);
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// How long an annotated Ingress takes to get its certificate.
async fn issue(user: &User<'_>, name: &str) -> Result<Duration> {
    let began = Instant::now();
    user.apply_ingress(name, &[user.host(name)], issuer_annotation("shared")).await?;
    user.await_issued(name, harness::TIMEOUT).await?;
    Ok(began.elapsed())
}

fn acme_issuer(name: &str, pebble: &Pebble) -> Result<Value> {
    Ok(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": { "name": name },
        "spec": { "acme": {
            "server": pebble.directory_url(),
            "caBundle": ca_bundle(pebble)?,
            "privateKeySecretRef": { "name": name },
            "solvers": [{ "http01": { "ingress": { "ingressClassName": "traefik" } } }],
        } },
    }))
}
