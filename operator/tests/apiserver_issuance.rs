//! The whole way from an annotated Ingress to its Secret, with a real API server, Pebble and Traefik: our programs are plain
//! processes with the rights that the chart gives them.

use std::{
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use crds::certmanager::{Certificate, ClusterIssuer};
use e2e::{
    audit::AuditMark,
    cluster::{self, Cluster, Mode, Options},
    harness::{self, await_condition},
    http::Trust,
    operator::{self, Processes},
    paths,
    pebble::Pebble,
    progress::Steps,
    tools::Tools,
};
use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::Mutex;

/// A cluster with our programs in it.
struct World {
    cluster: Cluster,
    processes: Mutex<Processes>,
}

/// The one that all tests here share: our programs serve all of its namespaces.
fn world() -> Result<&'static World> {
    static WORLD: OnceLock<Result<World, String>> = OnceLock::new();
    let start = || -> Result<World> {
        tokio::runtime::Runtime::new()?.block_on(async {
            let name = format!("test-issuance-{}", std::process::id());
            let options = Options::new(name, Mode::ControlPlane);
            let cluster =
                cluster::start(&options, &Tools::seen_at(paths::cache()?), &Steps::default()).await?;
            let binaries = Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("a folder")?;
            let processes = Processes::start(&cluster, binaries, &[]).await?;
            Ok(World { cluster, processes: Mutex::new(processes) })
        })
    };
    WORLD
        // A runtime can't be started inside the one of a test.
        .get_or_init(|| {
            std::thread::spawn(move || start().map_err(|error| format!("{error:#}")))
                .join()
                .unwrap_or_else(|_| Err("the start panicked".into()))
        })
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}

/// A ClusterIssuer at the cluster's Pebble.
async fn issuer(cluster: &Cluster, name: &str) -> Result<()> {
    let pebble = Pebble::of_cluster(cluster)?;
    let Trust::Roots(roots) = pebble.trust() else { anyhow::bail!("Pebble has no CA") };
    let issuer: ClusterIssuer = serde_json::from_value(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "ClusterIssuer",
        "metadata": { "name": name },
        "spec": { "acme": {
            "server": pebble.directory_url(),
            "email": "admin@example.test",
            "caBundle": base64(roots.as_bytes()),
            "privateKeySecretRef": { "name": name },
            "solvers": [{ "http01": { "ingress": { "class": "traefik" } } }],
        }},
    }))?;
    let issuers: Api<ClusterIssuer> = Api::all(cluster.client().await?);
    issuers.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&issuer)).await?;
    await_condition(issuers, name, "be ready", harness::TIMEOUT, |it: Option<&ClusterIssuer>| {
        let conditions = it.and_then(|it| it.status.as_ref()).map(|status| status.conditions.as_slice());
        conditions.is_some_and(|conditions| crds::condition::is_true(conditions, "Ready"))
    })
    .await
    .with_context(|| cluster.log_tail(operator::NAME, 40))?;
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec()))
        .ok()
        .and_then(|value| value.as_str().map(ToOwned::to_owned))
        .unwrap_or_default()
}

fn ingress(host: &str, secret: &str, annotations: serde_json::Value) -> Result<Ingress> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": secret, "annotations": annotations },
        "spec": {
            "ingressClassName": "traefik",
            "rules": [{ "host": host, "http": { "paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": { "service": { "name": "web", "port": { "number": 80 } } },
            }] } }],
            "tls": [{ "hosts": [host], "secretName": secret }],
        },
    }))?)
}

#[tokio::test]
async fn an_annotated_ingress_gets_its_secret() -> Result<()> {
    let world = world()?;
    let cluster = &world.cluster;
    issuer(cluster, "prod").await?;
    let client = cluster.client().await?;
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), "default");
    let mut times = Vec::new();
    for run in 0..3 {
        let name = format!("web-{run}");
        let host = format!("{name}.issuance.example.test");
        let plain = ingress(&host, &name, json!({}))?;
        ingresses.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&plain)).await?;
        // Traefik takes a change at once if there was none for two seconds.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let mark = AuditMark::now(cluster)?;
        let began = Instant::now();
        let annotated = ingress(&host, &name, json!({ "cert-manager.io/cluster-issuer": "prod" }))?;
        ingresses.patch(&name, &PatchParams::apply("test"), &Patch::Apply(&annotated)).await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
        let there = |secret: Option<&Secret>| {
            secret.and_then(|secret| secret.data.as_ref()).is_some_and(|data| data.contains_key("tls.crt"))
        };
        await_condition(secrets, &name, "hold a certificate", Duration::from_secs(20), there)
            .await
            .with_context(|| cluster.log_tail(operator::NAME, 60))?;
        times.push(began.elapsed());
        let certificates: Api<Certificate> = Api::namespaced(client.clone(), "default");
        await_condition(certificates, &name, "be ready", harness::TIMEOUT, |it: Option<&Certificate>| {
            let conditions = it.and_then(|it| it.status.as_ref()).map(|status| status.conditions.as_slice());
            conditions.is_some_and(|conditions| {
                crds::condition::is_true(conditions, "Ready")
                    && crds::condition::find(conditions, "Issuing").is_none()
            })
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let count = mark.count(operator::USER)?;
        println!("{:?}; requests {}: {count:#?}", times.last(), count.values().sum::<usize>());
    }
    times.sort();
    println!("median {:?}", times[1]);
    println!("{}", cluster.log_tail(operator::NAME, 200));
    ensure!(times[1] < Duration::from_secs(5), "{times:?}");
    Ok(())
}
