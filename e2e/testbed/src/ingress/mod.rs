//! What serves Ingresses and Gateways at the node's address: Traefik, or Envoy, which Istio or Contour configures, or nginx, which
//! ingress-nginx configures.
//! Knows nothing about certificates. Next: `traefik.rs`, which every cluster has by default.

pub(crate) mod contour;
mod envoy;
mod files;
pub(crate) mod istio;
pub(crate) mod nginx;
pub(crate) mod traefik;

use anyhow::{Result, bail};

pub use self::traefik::{IMAGE, REST, USER};
use crate::{
    cluster::{Cluster, IngressController},
    tools::{INGRESS_NGINX, Tool},
};

impl IngressController {
    /// The name, as in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traefik => "Traefik",
            Self::Istio => "Istio",
            Self::Contour => "Contour",
            Self::IngressNginx => "ingress-nginx",
        }
    }

    /// The class of the Gateways that it serves. Empty if it serves none.
    pub fn gateway_class(self) -> &'static str {
        match self {
            Self::Traefik => "traefik",
            Self::Istio => "istio",
            Self::Contour => "contour",
            Self::IngressNginx => "",
        }
    }

    /// The tools that it needs, in addition to those of every cluster.
    pub fn tools(self) -> &'static [Tool] {
        match self {
            Self::Traefik => &[],
            Self::Istio => istio::TOOLS,
            Self::Contour => contour::TOOLS,
            Self::IngressNginx => INGRESS_NGINX,
        }
    }
}

/// Waits until the Pods of a Deployment or DaemonSet are ready.
async fn await_rollout(cluster: &Cluster, namespace: &str, workload: &str) -> Result<()> {
    let arguments = ["rollout", "status", "--timeout=180s", "--namespace", namespace, workload];
    let output = cluster.kubectl().args(arguments).output().await?;
    if output.status.success() {
        return Ok(());
    }
    let logs = ["logs", "--all-containers", "--prefix", "--tail=15", "--namespace", namespace, workload];
    let logs = cluster.kubectl().args(logs).output().await?;
    let printed = [output, logs].map(|it| xtask::process::text(&it)).join("\n");
    bail!("{workload} in the namespace {namespace} is not ready: {}", printed.trim())
}
