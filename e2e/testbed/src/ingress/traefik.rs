//! Traefik, the ingress controller of the testbed: a Pod if the cluster has a node, otherwise a plain process. It
//! serves Ingresses of one class, `traefik` or any other, such as `nginx`. Knows nothing about certificates.
//! Next: `manifests/traefik.yaml`, and `manifests/traefik-gateways.yaml` for Gateways.

use std::time::Duration;

use anyhow::Result;
use hyper::StatusCode;

use crate::{
    cluster::{Cluster, Layout, Mode, NODE_ADDRESS, Network, Options, Process, TRAEFIK},
    gateway_api,
    http::{self, Trust},
    tools::{Tool, Tools},
};

/// The user name of Traefik at the API server, both as a Pod and as a process.
pub const USER: &str = "system:serviceaccount:traefik:traefik";

/// The image of Traefik on a node.
pub const IMAGE: &str = "localhost/traefik:testbed";

const PING_PORT: u16 = 8082;

/// Where it listens for HTTP and HTTPS in the node's network.
const NODE_PORTS: [u16; 2] = [80, 443];

/// Where it listens as a Pod with its own address. The ports of the node lead there.
const POD_PORTS: [u16; 2] = [8000, 8443];

/// How long to leave Traefik idle before measuring it. It applies a change immediately if it has applied none for two
/// seconds. There are two changes to wait for: the one before, and the Ingress that is measured.
pub const REST: Duration = Duration::from_millis(4500);

/// Starts Traefik without waiting for it; see [`is_up`].
pub(crate) async fn start(cluster: &Cluster, options: &Options) -> Result<()> {
    let class = cluster.ingress_class();
    // Policies don't apply to Pods in the node's network.
    let in_node = cluster.pod_network() == Network::Bridge;
    let arguments = arguments(class, options, if in_node { NODE_PORTS } else { POD_PORTS });
    if options.gateway_api {
        gateway_api::install(cluster).await?;
        let rights = include_str!("../../manifests/traefik-gateways.yaml");
        cluster.apply(&rights.replace("$CLASS", cluster.gateway_class())).await?;
    }
    cluster.apply(&include_str!("../../manifests/traefik.yaml").replace("$CLASS", class)).await?;
    match cluster.mode() {
        Mode::Node => {
            if !in_node {
                let service = include_str!("../../manifests/traefik-service.yaml")
                    .replace("$NODE_ADDRESS", &NODE_ADDRESS.to_string())
                    .replace("$PING_PORT", &PING_PORT.to_string());
                cluster.apply(&service).await?;
            }
            let pod = include_str!("../../manifests/traefik-pod.yaml")
                .replace("$HOST_NETWORK", &in_node.to_string())
                .replace("$IMAGE", IMAGE)
                .replace("$ARGUMENTS", &serde_json::to_string(&arguments)?);
            cluster.apply(&pod).await
        }
        Mode::ControlPlane => {
            let program = Tools::seen_at(Layout::cache_inside()).path(Tool::Traefik);
            let kubeconfig = Layout::inside().kubeconfig(TRAEFIK);
            cluster
                .start(Process::new(TRAEFIK, program, arguments).env("KUBECONFIG", kubeconfig.display()))
                .map(drop)
        }
    }
}

/// Whether Traefik answers.
pub(crate) async fn is_up(cluster: &Cluster) -> bool {
    let url = format!("http://{NODE_ADDRESS}:{PING_PORT}/ping");
    http::get(&cluster.network(), &url, &Trust::Nothing)
        .await
        .is_ok_and(|answer| answer.status() == StatusCode::OK)
}

fn arguments(class: &str, options: &Options, [web, websecure]: [u16; 2]) -> Vec<String> {
    let mut arguments = vec![
        format!("--entrypoints.web.address=:{web}"),
        format!("--entrypoints.websecure.address=:{websecure}"),
        // Serve every Ingress over TLS, too, as Traefik's chart does.
        "--entrypoints.websecure.http.tls=true".to_owned(),
        format!("--entrypoints.ping.address=:{PING_PORT}"),
        "--ping.entrypoint=ping".to_owned(),
        "--providers.kubernetesingress=true".to_owned(),
        "--log.nocolor=true".to_owned(),
        "--global.checknewversion=false".to_owned(),
        "--global.sendanonymoususage=false".to_owned(),
    ];
    if options.fast_traefik {
        arguments.push("--providers.providersthrottleduration=100ms".to_owned());
    }
    if options.gateway_api {
        arguments.push("--providers.kubernetesgateway=true".to_owned());
    }
    // The flag is only for classes other than `traefik`.
    if class != TRAEFIK {
        arguments.push(format!("--providers.kubernetesingress.ingressclass={class}"));
    }
    arguments
}
