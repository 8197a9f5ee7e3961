//! Cilium, which enforces policies: its agent as a process on the node, with the CRDs and permissions of its own module, without its
//! operator. It compiles the programs that it loads into the kernel. Everything that it mounts, pins, and attaches is in the cluster's
//! namespaces, and ends with them. Next: `mod.rs`.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hyper::StatusCode;

use crate::{
    bring_up,
    cluster::{Cluster, Layout, NODE_NAME, POD_RANGE, Process},
    helm::helm,
    http::{self, Trust},
    tools::{Tool, Tools, host::SYSTEM_PATH},
};

/// The name of the agent's process.
pub(super) const AGENT: &str = "cilium";

/// The type of the CNI plugin.
pub(super) const PLUGIN: &str = "cilium-cni";

const MODULE: &str = "github.com/cilium/cilium";

/// The folders of the module's `bpf` that are compiled, in addition to the files in it.
const SOURCES: [&str; 2] = ["include", "lib"];

/// Where the agent reads them, below the folder that is `/var/lib` inside.
const SOURCES_TARGET: &str = "var-lib/cilium/bpf";

/// The parts of Cilium's chart that give the agent its permissions.
const PERMISSIONS: [&str; 6] = [
    "cilium-secrets-namespace",
    "cilium-agent/serviceaccount",
    "cilium-agent/clusterrole",
    "cilium-agent/clusterrolebinding",
    "cilium-agent/role",
    "cilium-agent/rolebinding",
];

/// The folder of the compiler, which is not in the usual `PATH`.
const COMPILER: &str = "/usr/lib/llvm-19/bin";

const HEALTH_PORT: u16 = 9879;

/// Starts the agent, and returns how long it took until it was ready.
pub(super) async fn start(cluster: &Cluster) -> Result<Duration> {
    let module = cluster.tools().module_of(Tool::Cilium, MODULE).await?;
    install_definitions(cluster, &module.join("pkg/k8s/apis/cilium.io/client/crds")).await?;
    grant_permissions(cluster, &module.join("install/kubernetes/cilium")).await?;
    let target = cluster.layout().path(SOURCES_TARGET);
    copy_files(&module.join("bpf"), &target)?;
    for folder in SOURCES {
        copy_tree(&module.join("bpf").join(folder), &target.join(folder))?;
    }

    let program = Tools::seen_at(Layout::cache_inside()).path(Tool::Cilium);
    let agent = Process::new(AGENT, program, arguments())
        .env("K8S_NODE_NAME", NODE_NAME)
        .env("PATH", format!("{COMPILER}:{SYSTEM_PATH}"));
    let began = Instant::now();
    cluster.start(agent)?;
    let url = format!("http://127.0.0.1:{HEALTH_PORT}/healthz");
    bring_up::wait(cluster, "Cilium to be healthy", AGENT, async || {
        let answer = http::get(&cluster.network(), &url, &Trust::Nothing).await;
        Ok(answer.is_ok_and(|answer| answer.status() == StatusCode::OK).then_some(()))
    })
    .await?;
    Ok(began.elapsed())
}

fn arguments() -> Vec<String> {
    let mut arguments = vec![
        format!("--k8s-kubeconfig-path={}", Layout::inside().kubeconfig(AGENT).display()),
        format!("--ipv4-native-routing-cidr={POD_RANGE}"),
        format!("--devices={NODE_NAME}"),
        format!("--direct-routing-device={NODE_NAME}"),
        format!("--agent-health-port={HEALTH_PORT}"),
    ];
    let fixed = [
        "--ipam=kubernetes",
        "--identity-allocation-mode=crd",
        "--routing-mode=native",
        // kube-proxy is in every cluster.
        "--kube-proxy-replacement=false",
        // The agent mounts these itself, in the cluster's mount namespace.
        "--bpf-root=/run/cilium/bpffs",
        "--cgroup-root=/run/cilium/cgroupv2",
        "--cni-exclusive=false",
        "--enable-ipv6=false",
        "--enable-ipv6-masquerade=false",
        "--enable-hubble=false",
        "--enable-l7-proxy=false",
        "--enable-envoy-config=false",
        "--enable-health-checking=false",
        "--enable-endpoint-health-checking=false",
        "--enable-gops=false",
    ];
    arguments.extend(fixed.map(Into::into));
    arguments
}

async fn install_definitions(cluster: &Cluster, folder: &Path) -> Result<()> {
    let mut definitions = Vec::new();
    for version in ["v2", "v2alpha1"] {
        let folder = folder.join(version);
        for entry in fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                definitions.push(fs::read_to_string(path)?);
            }
        }
    }
    ensure!(!definitions.is_empty(), "Cilium's module has no CRDs in {}", folder.display());
    cluster.apply(&definitions.join("\n---\n")).await
}

/// Applies the roles of Cilium's chart for the agent.
async fn grant_permissions(cluster: &Cluster, chart: &Path) -> Result<()> {
    let chart = chart.to_string_lossy();
    let shown = PERMISSIONS.map(|name| format!("--show-only=templates/{name}.yaml"));
    let mut arguments =
        vec!["template", "cilium", &*chart, "--namespace=kube-system", "--set=hubble.enabled=false"];
    arguments.extend(shown.iter().map(String::as_str));
    let permissions = helm(cluster, &arguments).await?;
    cluster.apply(&permissions).await
}

/// Copies a folder with all that is in it. Go's own copies of modules are read-only.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    copy_files(from, to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Copies the files of a folder, but not the folders in it.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
