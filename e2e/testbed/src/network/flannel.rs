//! Flannel with VXLAN, which has nothing to connect on a single node, so Pods are on a bridge of its own. Its agent is a process on the
//! node with the permissions of Flannel's own manifest. Next: `mod.rs`.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    bring_up,
    cluster::{Cluster, Layout, NODE_NAME, POD_RANGE, Process},
    tools::{Tool, Tools},
};

/// The name of the agent's process.
pub(super) const AGENT: &str = "flannel";

/// The type of the CNI plugin.
pub(super) const PLUGIN: &str = "flannel";

const MODULE: &str = "github.com/flannel-io/flannel";

/// The file that the agent writes when it is ready, and the plugin reads.
const SUBNET: &str = "flannel-subnet.env";

const CONFIGURATION: &str = "flannel.json";

pub(super) fn plugin(inside: &Layout) -> Value {
    json!({
        "type": PLUGIN,
        "subnetFile": inside.path(SUBNET),
        "delegate": { "hairpinMode": true, "isDefaultGateway": true },
    })
}

/// Starts the agent, and returns how long it took until it was ready.
pub(super) async fn start(cluster: &Cluster) -> Result<Duration> {
    let module = cluster.tools().module_of(Tool::Flannel, MODULE).await?;
    let manifest = module.join("Documentation/kube-flannel.yml");
    let published =
        fs::read_to_string(&manifest).with_context(|| format!("failed to read {}", manifest.display()))?;
    let is_workload =
        |object: &&str| object.lines().any(|line| line == "kind: DaemonSet" || line == "kind: ConfigMap");
    let permissions: Vec<_> = published.split("---\n").filter(|object| !is_workload(object)).collect();
    cluster.apply(&permissions.join("---\n")).await?;

    let configuration = json!({
        "Network": POD_RANGE,
        "EnableNFTables": true,
        "Backend": { "Type": "vxlan" },
    });
    let layout = cluster.layout();
    fs::write(layout.path(CONFIGURATION), configuration.to_string())?;
    let inside = Layout::inside();
    let arguments = [
        "--kube-subnet-mgr".to_owned(),
        format!("--kubeconfig-file={}", inside.kubeconfig(AGENT).display()),
        format!("--net-config-path={}", inside.text(CONFIGURATION)),
        format!("--subnet-file={}", inside.text(SUBNET)),
        format!("--iface={NODE_NAME}"),
        // Pods reach nothing outside of the cluster that would have to see the node's address.
        "--ip-masq=false".to_owned(),
    ];
    let program = Tools::seen_at(Layout::cache_inside()).path(Tool::Flannel);
    let began = Instant::now();
    cluster.start(Process::new(AGENT, program, arguments).env("NODE_NAME", NODE_NAME))?;
    let is_ready = async || Ok(layout.path(SUBNET).exists().then_some(()));
    bring_up::wait(cluster, "Flannel to connect the node", AGENT, is_ready).await?;
    Ok(began.elapsed())
}
