//! A control plane without a node provides what tests of the API rely on. Must not need the operator. Next: `testbed`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::harness::{self, with_namespace};
use k8s_openapi::{
    api::{core::v1::ConfigMap, networking::v1::Ingress},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use testbed::{
    acme,
    cluster::Mode,
    pebble::{Pebble, Settings},
};

#[tokio::test]
async fn server_side_apply_reports_conflicts() -> Result<()> {
    with_namespace("ssa", async |namespace| {
        ensure!(namespace.cluster().mode() == Mode::ControlPlane, "the cluster of this level has a node");
        let maps = namespace.api::<ConfigMap>();
        let apply = async |manager: &str, value: &str| {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "shared" }, "data": { "key": value },
            });
            maps.patch("shared", &PatchParams::apply(manager), &Patch::Apply(map)).await
        };
        apply("first", "1").await?;
        let conflict = apply("second", "2").await.err().context("the second manager took the first one's field")?;
        ensure!(matches!(&conflict, kube::Error::Api(status) if status.code == 409), "{conflict}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn crd_is_established_within_20_s() -> Result<()> {
    let cluster = harness::cluster()?;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client().await?);
    let name = "samples.testbed.example.test";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": name },
        "spec": {
            "group": "testbed.example.test",
            "names": { "kind": "Sample", "plural": "samples" },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } },
            }],
        },
    });
    definitions.patch(name, &PatchParams::apply("testbed"), &Patch::Apply(definition)).await?;
    let established = kube::runtime::conditions::is_crd_established();
    harness::await_condition(definitions, name, "be established", Duration::from_secs(20), established)
        .await?;
    Ok(())
}

/// Without a node, a process serves in place of a Pod: the Service has no selector, and the test creates its EndpointSlice.
#[tokio::test]
async fn pebble_validates_what_a_process_serves() -> Result<()> {
    with_namespace("plain", async |namespace| {
        let cluster = namespace.cluster();
        let host = format!("plain.{}.example.test", namespace.name());
        let pebble = Pebble::in_cluster(cluster, &Settings::default()).await?;
        let port = cluster.reserve_port()?;
        let mut servers = Vec::new();
        let account = acme::new_account(&pebble, acme::account_builder(&pebble)).await?;
        let issued = acme::issue(&account, &[&host], async |token, key_authorization| {
            let folder = cluster.layout().path("served").join(namespace.name());
            let file = folder.join(".well-known/acme-challenge").join(token);
            std::fs::create_dir_all(file.parent().context("the file has no folder")?)?;
            std::fs::write(&file, key_authorization)?;
            let program = testbed::tools::host::find("python3").context("failed to find python3")?;
            let inside = testbed::cluster::Layout::inside().path("served").join(namespace.name());
            let server = testbed::cluster::Process::new(
                &format!("served-{}", namespace.name()),
                program,
                ["-m", "http.server", &port.to_string(), "--directory", &inside.to_string_lossy()],
            );
            servers.push(cluster.start_bound(server)?);
            let route = include_str!("data/plain-route.yaml")
                .replace("$HOST", &host)
                .replace("$ADDRESS", &testbed::cluster::NODE_ADDRESS.to_string())
                .replace("$PORT", &port.to_string());
            namespace.apply(&route).await?;
            let ingress = namespace.api::<Ingress>().get_opt("plain").await?;
            ensure!(ingress.is_some(), "the Ingress was not created");
            let url = format!("http://{host}/.well-known/acme-challenge/{token}");
            let page = namespace.await_page(&url).await?;
            ensure!(page == key_authorization, "the page is {page:?}");
            Ok(())
        })
        .await?;
        let certificates = issued.chain.matches("BEGIN CERTIFICATE").count();
        ensure!(certificates == 2, "the chain has {certificates} certificates");
        Ok(())
    })
    .await
}
