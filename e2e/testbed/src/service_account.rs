//! Kubeconfigs with the rights of a ServiceAccount, for processes that run in place of its Pods.
//! Knows nothing about these processes. Next: `cluster/layout.rs` for the paths.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::cluster::{API_PORT, Cluster, Layout, NODE_ADDRESS};

/// The path of a ServiceAccount's kubeconfig, as seen inside a cluster.
pub fn kubeconfig_inside(account: &str) -> PathBuf {
    Layout::inside().path(&format!("{account}.kubeconfig"))
}

/// A token of a ServiceAccount that is valid for a day.
pub async fn token(cluster: &Cluster, namespace: &str, account: &str) -> Result<String> {
    let token = ["--namespace", namespace, "create", "token", account, "--duration=24h"];
    let output = cluster.kubectl().args(token).output().await?;
    if !output.status.success() {
        bail!("failed to create a token of {account:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Writes a kubeconfig with the [`token`] of a ServiceAccount, and returns its path inside the cluster.
pub async fn write_kubeconfig(cluster: &Cluster, namespace: &str, account: &str) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "testbed",
        "clusters": [{ "name": "testbed", "cluster": {
            "server": format!("https://{NODE_ADDRESS}:{API_PORT}"),
            "certificate-authority": Layout::inside().path("pki/ca.crt"),
        }}],
        "users": [{ "name": "testbed", "user": { "token": token(cluster, namespace, account).await? } }],
        "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": "testbed" } }],
    });
    let path = cluster.layout().path(&format!("{account}.kubeconfig"));
    std::fs::write(&path, config.to_string())
        .with_context(|| format!("failed to write {}", path.display()))?;
    Ok(kubeconfig_inside(account))
}
