//! What connects Pods: the standard bridge, Flannel, or Cilium, which also enforces policies. The last two have an agent on the node.
//! Knows nothing about what Pods do. Next: `cilium.rs`, whose policies tests rely on.

mod cilium;
mod flannel;

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::{Value, json};

use crate::{
    bring_up,
    cluster::{Cluster, Layout, NODE_NAME, NODE_POD_RANGE, Network},
    tools::{
        Tool, Tools,
        host::{self, CNI_PLUGINS, Need},
    },
};

/// The folder of the CNI plugins, if these are not only the ones of the operating system.
const PLUGINS: &str = "cni-plugins";

impl Network {
    /// The name, as in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "the bridge",
            Self::Cilium => "Cilium",
            Self::Flannel => "Flannel",
        }
    }

    /// Whether NetworkPolicies have an effect.
    pub fn enforces_policies(self) -> bool {
        match self {
            Self::Cilium => true,
            Self::Bridge | Self::Flannel => false,
        }
    }

    /// The tools that it needs, in addition to those of every cluster.
    pub fn tools(self) -> &'static [Tool] {
        match self {
            Self::Bridge => &[],
            Self::Cilium => &[Tool::Cilium, Tool::CiliumCni, Tool::Helm],
            Self::Flannel => &[Tool::Flannel, Tool::FlannelCni],
        }
    }

    /// The programs of the operating system that it needs, in addition to those of every node.
    pub fn programs(self) -> &'static [Need] {
        match self {
            Self::Cilium => host::CILIUM,
            Self::Bridge | Self::Flannel => &[],
        }
    }

    /// The name of the agent's process and kubeconfig, and its user name at the API server, if there is an agent.
    pub(crate) fn user(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Bridge => None,
            Self::Cilium => Some((cilium::AGENT, "system:serviceaccount:kube-system:cilium")),
            Self::Flannel => Some((flannel::AGENT, "system:serviceaccount:kube-flannel:flannel")),
        }
    }
}

/// The CNI configuration, by which containerd connects Pods to the network.
pub(crate) fn plugins(network: Network, inside: &Layout) -> Value {
    let first = match network {
        Network::Bridge => json!({
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": NODE_POD_RANGE }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }),
        Network::Cilium => json!({ "type": cilium::PLUGIN }),
        Network::Flannel => flannel::plugin(inside),
    };
    let ports = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    json!({ "cniVersion": "0.4.0", "name": "testbed", "plugins": [first, ports] })
}

/// Creates a folder with all CNI plugins, if the network has one of its own. Returns the folder's path inside.
pub(crate) fn install_plugins(network: Network, layout: &Layout) -> Result<String> {
    let tools = Tools::seen_at(Layout::cache_inside());
    let (name, program) = match network {
        Network::Bridge => return Ok(CNI_PLUGINS.to_owned()),
        Network::Cilium => (cilium::PLUGIN, tools.path(Tool::CiliumCni)),
        Network::Flannel => (flannel::PLUGIN, tools.path(Tool::FlannelCni)),
    };
    let folder = layout.path(PLUGINS);
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(CNI_PLUGINS).with_context(|| format!("failed to list {CNI_PLUGINS}"))? {
        let entry = entry?;
        symlink(entry.path(), folder.join(entry.file_name()))?;
    }
    symlink(program, folder.join(name)).with_context(|| format!("failed to add the CNI plugin {name}"))?;
    Ok(Layout::inside().text(PLUGINS))
}

/// Starts the network's agent on the node, if it has one, and waits until Pods can be connected. Returns what to report.
pub(crate) async fn start(cluster: &Cluster, network: Network) -> Result<String> {
    let nodes: Api<Node> = Api::all(cluster.client().await?);
    // The agents end if these are missing.
    bring_up::wait(cluster, "the node to get addresses for Pods", "kube-controller-manager", async || {
        let node = nodes.get_opt(NODE_NAME).await?;
        Ok(node.and_then(|node| node.spec?.pod_cidr).map(drop))
    })
    .await?;
    let took = match network {
        Network::Bridge => return Ok(String::new()),
        Network::Cilium => cilium::start(cluster).await?,
        Network::Flannel => flannel::start(cluster).await?,
    };
    Ok(format!("ready {:.1} s after its start", took.as_secs_f64()))
}
