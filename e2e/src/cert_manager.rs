//! cert-manager as a process in a cluster of the testbed, for benchmarks and for tests that migrate from it.
//!
//! It uses its own CRDs. Its Pods that answer challenges need a node. It is cluster-admin, because the restrictions of its chart's roles
//! are not under test. Must not know the operator. Next: `cert_manager_fixture.rs` for what it leaves in a cluster.

use anyhow::{Context, Result};
use serde_json::json;
use testbed::{
    cluster::{Cluster, Layout, Mode, Process},
    service_account,
    tools::{Tool, Tools},
};
use xtask::image::{Image, NON_ROOT};

use crate::harness;

/// The name of cert-manager, of its namespace, and of its ServiceAccount.
pub const NAME: &str = "cert-manager";

/// The user name by which cert-manager authenticates to the API server.
pub const USER: &str = "system:serviceaccount:cert-manager:cert-manager";

const SOLVER_IMAGE: &str = "localhost/acmesolver:testbed";

/// Creates everything that cert-manager needs in a cluster, except the CRDs. Returns the process, which is not started yet.
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

/// Applies cert-manager's own CRDs and waits until they are established.
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
