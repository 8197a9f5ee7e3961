//! cert-manager in a cluster of the testbed, for benchmarks and for tests that migrate from it or run beside it: its controllers as a
//! process, or all its programs in Pods that its own chart installs.
//!
//! It uses its own CRDs. Its Pods that answer challenges need a node. The process is cluster-admin, because the restrictions of its
//! chart's roles are not under test. Must not know the operator. Next: `cert_manager_fixture.rs` for what it leaves in a cluster.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use crds::certmanager::ClusterIssuer;
use kube::{Api, api::PostParams};
use serde_json::json;
use testbed::{
    cluster::{Cluster, Layout, Mode, Process},
    helm::helm,
    service_account,
    tools::{Tool, Tools},
};
use tokio::time::{Instant, sleep};
use xtask::image::{Image, NON_ROOT};

use crate::harness;

/// The name of cert-manager, of its namespace, and of its ServiceAccount.
pub const NAME: &str = "cert-manager";

/// The user name by which cert-manager authenticates to the API server.
pub const USER: &str = "system:serviceaccount:cert-manager:cert-manager";

const SOLVER_IMAGE: &str = "localhost/acmesolver:testbed";

/// Creates everything that cert-manager needs in a cluster, except the CRDs. Returns the process, which is not started yet, with
/// additional flags.
pub async fn prepare(cluster: &Cluster, flags: &[&str]) -> Result<Process> {
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
        cluster.load(&Image::new(SOLVER_IMAGE, cluster.tools().path(Tool::AcmeSolver), NON_ROOT)).await?;
    }
    let kubeconfig = service_account::write_kubeconfig(cluster, NAME, NAME).await?;
    let program = Tools::seen_at(Layout::cache_inside()).path(Tool::CertManager);
    let mut arguments = vec![
        format!("--cluster-resource-namespace={NAME}"),
        format!("--acme-http01-solver-image={SOLVER_IMAGE}"),
        // All processes share the node's address, and a process has no kubelet that asks.
        "--internal-healthz-listen-address=".to_owned(),
        // Killed, it would hold its Lease for a minute.
        "--leader-elect=false".to_owned(),
    ];
    arguments.extend(flags.iter().map(ToString::to_string));
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

/// Where the chart finds the images of [`load_images`].
const IMAGES: [&str; 2] = ["imageRegistry=localhost", "imageNamespace=testbed"];

/// Imports the images of all programs that the chart runs, except for the check after the installation.
pub async fn load_images(cluster: &Cluster) -> Result<()> {
    let version = Tools::cert_manager_version()?;
    for (name, tool, argument) in [
        ("controller", Tool::CertManager, None),
        ("webhook", Tool::CertManager, Some("webhook")),
        ("cainjector", Tool::CertManager, Some("cainjector")),
        ("acmesolver", Tool::AcmeSolver, None),
    ] {
        let reference = format!("localhost/testbed/{NAME}-{name}:{version}");
        let mut image = Image::new(reference, cluster.tools().path(tool), NON_ROOT);
        image.entrypoint.extend(argument.map(str::to_owned));
        cluster.load(&image).await?;
    }
    Ok(())
}

/// Installs cert-manager's own chart as a release of its name in a namespace of its name, with a file of values, and waits until its
/// webhook answers.
pub async fn install(cluster: &Cluster, values: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let chart = package_chart(cluster, folder.path()).await?;
    let (chart, values) = (chart.to_string_lossy(), values.to_string_lossy());
    let mut arguments =
        vec!["install", NAME, &*chart, "--namespace", NAME, "--create-namespace", "--values", &*values];
    let images = IMAGES.map(|value| format!("--set={value}"));
    arguments.extend(images.iter().map(String::as_str));
    arguments.extend(["--set=startupapicheck.enabled=false", "--wait", "--timeout=180s"]);
    helm(cluster, &arguments).await?;
    await_webhook(cluster).await
}

/// Waits until the webhook answers to the API server, which trusts it once cainjector has written its CA.
pub async fn await_webhook(cluster: &Cluster) -> Result<()> {
    let issuer = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "ClusterIssuer",
        "metadata": { "name": "probe" },
        "spec": { "selfSigned": {} },
    });
    let issuer: ClusterIssuer = serde_json::from_value(issuer)?;
    let issuers: Api<ClusterIssuer> = Api::all(cluster.client().await?);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let deadline = Instant::now() + harness::TIMEOUT;
    while let Err(error) = issuers.create(&dry_run, &issuer).await {
        if Instant::now() > deadline {
            let log = ["logs", "--namespace", NAME, "deployment/cert-manager-cainjector", "--tail=20"];
            let log = cluster.kubectl().args(log).output().await?;
            bail!("the webhook does not answer: {error}; {}", xtask::process::text(&log));
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Packages cert-manager's chart as it is published: with the version, which the source lacks.
async fn package_chart(cluster: &Cluster, folder: &Path) -> Result<PathBuf> {
    let version = Tools::cert_manager_version()?;
    let source = cluster.tools().cert_manager_source().await?.join("deploy/charts/cert-manager");
    let (source, destination) = (source.to_string_lossy(), folder.to_string_lossy());
    let flags = ["--version", version, "--app-version", version, "--destination", &*destination];
    helm(cluster, &[&["package", &*source], &flags[..]].concat()).await?;
    Ok(folder.join(format!("{NAME}-{version}.tgz")))
}
