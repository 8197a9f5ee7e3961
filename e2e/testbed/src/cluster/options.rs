//! What cluster to start.

use serde::{Deserialize, Serialize};

use super::layout::TRAEFIK;

/// What a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// API, controllers, scheduler, DNS, Pebble and Traefik as plain processes; no Pods run. Needs no root.
    ControlPlane,
    /// All of that, with a node that runs Pods. Needs root.
    Node,
}

/// How Pods are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cni {
    /// The standard bridge plugin. Enforces no `NetworkPolicy`.
    #[default]
    Bridge,
}

/// What cluster to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Unique on this machine for this user; lower-case letters, digits and `-`.
    pub name: String,
    /// With a node or without.
    pub mode: Mode,
    /// How Pods are connected, on a node.
    pub cni: Cni,
    /// Loopback port of the SOCKS relay; any free one if `None`.
    pub relay_port: Option<u16>,
    /// The class of the Ingresses that Traefik serves.
    pub ingress_class: String,
}

impl Options {
    /// A cluster with any free relay port, the bridge CNI and the ingress class `traefik`.
    pub fn new(name: impl Into<String>, mode: Mode) -> Self {
        Self {
            name: name.into(),
            mode,
            cni: Cni::default(),
            relay_port: None,
            ingress_class: TRAEFIK.to_owned(),
        }
    }
}
