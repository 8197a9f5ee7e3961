//! cert-manager in a cluster of the testbed, as a process: to be measured, and to be taken over from. Its definitions are its own;
//! its Pods that answer challenges need a node. It may do everything, as nothing is learnt from what its chart's roles leave
//! out.

use anyhow::{Context, Result};
use serde_json::json;
use testbed::{
    cluster::{Cluster, Layout, Mode, Process},
    service_account,
    tools::{Tool, Tools},
};
use xtask::image::{Image, NON_ROOT};

use crate::harness;

/// Its name, its namespace and its ServiceAccount.
pub const NAME: &str = "cert-manager";

/// Its name to the API server.
pub const USER: &str = "system:serviceaccount:cert-manager:cert-manager";

const SOLVER_IMAGE: &str = "localhost/acmesolver:testbed";

/// Gives it what it needs in a cluster, but for definitions; returns how it is started.
pub async fn prepare(cluster: &Cluster) -> Result<Process> {
    let account = json!({ "kind": "ServiceAccount", "name": NAME, "namespace": NAME });
    let needed = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAME } },
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": NAME, "namespace": NAME } },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": NAME },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [account],
        },
    ]});
    cluster.apply(&needed.to_string()).await?;
    if cluster.mode() == Mode::Node {
        let solver = Image::new(SOLVER_IMAGE, cluster.tools().path(Tool::AcmeSolver), NON_ROOT);
        let folder = tempfile::tempdir()?;
        let archive = folder.path().join("acmesolver.tar");
        solver.write(&archive)?;
        cluster.load_image(&archive).await?;
    }
    let kubeconfig = service_account::write_kubeconfig(cluster, NAME, NAME).await?;
    let program = Tools::seen_at(Layout::cache_inside()).path(Tool::CertManager);
    let arguments = [
        format!("--cluster-resource-namespace={NAME}"),
        format!("--acme-http01-solver-image={SOLVER_IMAGE}"),
    ];
    Ok(Process::new(NAME, program, arguments).env("KUBECONFIG", kubeconfig.display()))
}

/// Applies its own definitions, and waits until they are established.
pub async fn install_definitions(cluster: &Cluster) -> Result<()> {
    let folder = cluster.tools().cert_manager_source().await?.join("deploy/crds");
    for entry in std::fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            cluster.apply(&std::fs::read_to_string(path)?).await?;
        }
    }
    harness::await_definitions(cluster).await
}
