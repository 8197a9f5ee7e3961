//! The options of a cluster. Data only. Next: [`crate::bring_up::start`], which reads them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::layout::TRAEFIK;

/// Whether a cluster has a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The API server, controllers, scheduler, DNS, Pebble, and Traefik as plain processes. No Pods run. Needs no root.
    ControlPlane,
    /// The same, and a node that runs Pods. Needs root.
    Node,
}

/// The network of Pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Network {
    /// The standard bridge plugin. Enforces no policies.
    #[default]
    Bridge,
    /// Enforces policies with programs in the kernel. Needs a node.
    Cilium,
    /// Connects Pods by VXLAN. Enforces no policies. Needs a node.
    Flannel,
}

/// What serves Ingresses or Gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum IngressController {
    /// Serves Ingresses of one class, and Gateways if the cluster has the Gateway API.
    #[default]
    Traefik,
    /// Serves Ingresses of one class, or Gateways, one per port. Needs a node.
    Istio,
    /// Serves Ingresses of one class, or the Gateway "shared" in the namespace "tenant". Needs a node.
    Contour,
    /// Serves Ingresses of one class. Needs a node.
    IngressNginx,
}

/// The cluster to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name: lowercase letters, digits, and `-`. Unique among this user's clusters.
    pub name: String,
    /// Whether the cluster has a node.
    pub mode: Mode,
    /// The network of Pods, if there is a node.
    pub network: Network,
    /// The loopback port of the SOCKS relay, or `None` for any free port.
    pub relay_port: Option<u16>,
    /// What serves Ingresses or Gateways.
    pub ingress: IngressController,
    /// The class of the Ingresses that are served.
    pub ingress_class: String,
    /// Whether the CRDs of the Gateway API are installed and Gateways are served: by Traefik in addition to Ingresses, by others instead.
    pub gateway_api: bool,
    /// Whether Traefik applies changes ten times a second, not every two seconds.
    pub fast_traefik: bool,
    /// Further flags of the API server.
    pub api_server_flags: Vec<String>,
}

impl Options {
    /// Options with any free relay port, the bridge as network, Traefik for the ingress class `traefik`, and without the Gateway API.
    pub fn new(name: impl Into<String>, mode: Mode) -> Self {
        Self {
            name: name.into(),
            mode,
            network: Network::default(),
            relay_port: None,
            ingress: IngressController::default(),
            ingress_class: TRAEFIK.to_owned(),
            gateway_api: false,
            fast_traefik: false,
            api_server_flags: Vec::new(),
        }
    }
}
