//! The CRDs of the Gateway API in a cluster, in the version that cert-manager is built with.
//! Knows nothing about certificates. Next: `ingress/`, which serves Gateways.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;

/// The Go module with the CRDs.
const MODULE: &str = "sigs.k8s.io/gateway-api";

/// The CRDs of the standard channel, YAML.
async fn definitions(cluster: &Cluster) -> Result<String> {
    let module = cluster.tools().cert_manager_dependency(MODULE).await?;
    let folder = module.join("config/crd/standard");
    let mut all = String::new();
    let entries = fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for entry in entries {
        let text = fs::read_to_string(entry?.path())?;
        // The bundle also has an admission policy for upgrades.
        if text.contains("kind: CustomResourceDefinition") {
            all += "---\n";
            all += &text;
        }
    }
    ensure!(!all.is_empty(), "{MODULE} has no CRDs in {}", folder.display());
    Ok(all)
}

/// Installs the CRDs, and waits until the API server serves them.
pub async fn install(cluster: &Cluster) -> Result<()> {
    cluster.apply(&definitions(cluster).await?).await?;
    await_definitions(cluster).await
}

/// Waits until the API server serves all CRDs.
pub(crate) async fn await_definitions(cluster: &Cluster) -> Result<()> {
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
    let output = cluster.kubectl().args(wait).output().await?;
    let printed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the CRDs are not established: {printed}");
    Ok(())
}

/// Removes the CRDs of the kinds that users write, and with them all objects of these kinds. Waits until they are gone: on a busy
/// machine, that may take a minute.
pub async fn remove(cluster: &Cluster) -> Result<()> {
    let names = ["gateways", "httproutes", "listenersets"];
    let names = names.map(|name| format!("{name}.gateway.networking.k8s.io"));
    let output =
        cluster.kubectl().args(["delete", "crd", "--wait", "--timeout=180s"]).args(&names).output().await?;
    let printed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "failed to remove the CRDs of the Gateway API: {printed}");
    Ok(())
}
