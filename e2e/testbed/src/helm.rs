//! Runs Helm on a cluster of the testbed. Knows nothing about charts. Next: `tools`, which builds Helm.

use std::process::Output;

use anyhow::{Context, Result, bail};

use crate::{cluster::Cluster, tools::Tool};

/// Runs Helm on a cluster as an administrator, and returns its standard output.
///
/// # Errors
/// Helm failed; the message has its standard error.
pub async fn helm(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    // Without the caches and settings of this user.
    let home = tempfile::tempdir()?;
    let Output { status, stdout, stderr } = tokio::process::Command::new(cluster.tools().path(Tool::Helm))
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("HELM_CACHE_HOME", home.path().join("cache"))
        .env("HELM_CONFIG_HOME", home.path().join("config"))
        .env("HELM_DATA_HOME", home.path().join("data"))
        .kill_on_drop(true)
        .output()
        .await
        .context("failed to start helm")?;
    if !status.success() {
        bail!("`helm {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8(stdout)?)
}
