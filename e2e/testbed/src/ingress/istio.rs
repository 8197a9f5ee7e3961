//! Istio with its own charts. For Ingresses there is one Envoy. Every Gateway gets one of its own, whose Service has the node's address, so
//! there can be one Gateway per port. Envoy's release binary lacks Istio's extensions, and the values below turn off what needs these.
//! Next: `manifests/istio.yaml`.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use xtask::image::{Image, ImageFile};

use super::envoy;
use crate::{
    cluster::{Cluster, NODE_ADDRESS},
    gateway_api,
    helm::helm,
    tools::Tool,
};

/// The programs of Istio.
pub(super) const TOOLS: &[Tool] = &[Tool::PilotDiscovery, Tool::PilotAgent, Tool::Envoy, Tool::Helm];

const MODULE: &str = "istio.io/istio";
const NAMESPACE: &str = "istio-system";

/// The numeric user of Istio's images.
const USER: &str = "1337:1337";

/// The values of the chart of the control plane.
const VALUES: &[&str] = &[
    "global.hub=localhost",
    "global.tag=testbed",
    "global.imagePullPolicy=Never",
    "autoscaleEnabled=false",
    "resources.requests.cpu=50m",
    "resources.requests.memory=128Mi",
    // These need Istio's extensions of Envoy.
    "telemetry.enabled=false",
    "env.PILOT_ENABLE_METADATA_EXCHANGE=false",
    "env.PILOT_ENABLE_ALPN_FILTER=false",
];

/// The name of the release with the Envoy for Ingresses. Istio's control plane looks for Pods with this label.
const INGRESS_GATEWAY: &str = "istio-ingressgateway";

/// Starts Istio, and waits until it is ready. `gateways` is whether it serves Gateways, not Ingresses.
pub(crate) async fn start(cluster: &Cluster, gateways: bool) -> Result<()> {
    if gateways {
        gateway_api::install(cluster).await?;
    }
    let module = cluster.tools().module_of(Tool::PilotDiscovery, MODULE).await?;
    let tools = cluster.tools();
    let pilot = vec![envoy::file(tools.path(Tool::PilotDiscovery), "usr/local/bin/pilot-discovery")];
    cluster.load(&image("pilot", pilot, "/usr/local/bin/pilot-discovery")).await?;
    let mut proxy = envoy::files(tools)?;
    proxy.push(envoy::file(tools.path(Tool::PilotAgent), "usr/local/bin/pilot-agent"));
    let bootstrap = module.join("tools/packaging/common/envoy_bootstrap.json");
    proxy.push(envoy::file(bootstrap, "var/lib/istio/envoy/envoy_bootstrap_tmpl.json"));
    cluster.load(&image("proxyv2", proxy, "/usr/local/bin/pilot-agent")).await?;

    let definitions = module.join("manifests/charts/base/files/crd-all.gen.yaml");
    let definitions = fs::read_to_string(&definitions)
        .with_context(|| format!("failed to read {}", definitions.display()))?;
    cluster.apply(&definitions).await?;
    let manifest =
        include_str!("../../manifests/istio.yaml").replace("$NODE_ADDRESS", &NODE_ADDRESS.to_string());
    cluster.apply(&manifest).await?;
    let charts = module.join("manifests/charts");
    install(cluster, "istiod", &charts.join("istio-control/istio-discovery"), &VALUES.join(",")).await?;
    if gateways {
        return Ok(());
    }
    let class = include_str!("../../manifests/istio-ingresses.yaml");
    cluster.apply(&class.replace("$CLASS", cluster.ingress_class())).await?;
    let values = format!(
        "service.type=ClusterIP,service.externalIPs={{{NODE_ADDRESS}}},autoscaling.enabled=false,imagePullPolicy=Never,\
         resources.requests.cpu=50m,resources.requests.memory=64Mi"
    );
    install(cluster, INGRESS_GATEWAY, &charts.join("gateway"), &values).await
}

/// Installs a chart, and waits until its Pods are ready.
async fn install(cluster: &Cluster, release: &str, chart: &Path, values: &str) -> Result<()> {
    let (chart, values) = (chart.to_string_lossy(), format!("--set={values}"));
    let install =
        ["install", release, &*chart, "--namespace", NAMESPACE, &*values, "--wait", "--timeout=180s"];
    helm(cluster, &install).await.map(drop)
}

fn image(name: &str, files: Vec<ImageFile>, program: &str) -> Image {
    let reference = format!("localhost/{name}:testbed");
    Image { reference, files, entrypoint: vec![program.to_owned()], user: USER, compressed: false }
}
