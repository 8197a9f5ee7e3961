//! Contour and Envoy from Contour's own manifests. They serve Ingresses of one class, or one Gateway: the manifest for that also has the
//! CRDs of the Gateway API, in an older version than the other ingress controllers of the testbed use.
//! Next: `manifests/contour-ingresses.yaml` and `manifests/contour-gateways.yaml`.

use std::fs;

use anyhow::{Context, Result, ensure};
use xtask::image::Image;

use super::{await_rollout, envoy};
use crate::{cluster::Cluster, tools::Tool};

/// The programs of Contour.
pub(super) const TOOLS: &[Tool] = &[Tool::Contour, Tool::Envoy];

const MODULE: &str = "github.com/projectcontour/contour";
const NAMESPACE: &str = "projectcontour";
const CONTOUR_IMAGE: &str = "localhost/contour:testbed";
const ENVOY_IMAGE: &str = "localhost/envoy:testbed";

/// The numeric user of the images.
const USER: &str = "65534:65534";

/// Starts Contour and Envoy, and waits until both are ready. `gateways` is whether they serve Gateways, not Ingresses.
pub(crate) async fn start(cluster: &Cluster, gateways: bool) -> Result<()> {
    let tools = cluster.tools();
    let contour = vec![envoy::file(tools.path(Tool::Contour), "bin/contour")];
    for (reference, files, program) in
        [(CONTOUR_IMAGE, contour, "/bin/contour"), (ENVOY_IMAGE, envoy::files(tools)?, "envoy")]
    {
        let entrypoint = vec![program.to_owned()];
        let image =
            Image { reference: reference.to_owned(), files, entrypoint, user: USER, compressed: false };
        cluster.load(&image).await?;
    }

    let rendered = cluster.tools().module_of(Tool::Contour, MODULE).await?.join("examples/render");
    let manifest = rendered.join(if gateways { "contour-gateway.yaml" } else { "contour.yaml" });
    let published =
        fs::read_to_string(&manifest).with_context(|| format!("failed to read {}", manifest.display()))?;
    cluster.apply(&adapted(&published, cluster.ingress_class())?).await?;
    if gateways {
        crate::gateway_api::await_definitions(cluster).await?;
        cluster.apply(include_str!("../../manifests/contour-gateways.yaml")).await?;
    } else {
        let class = include_str!("../../manifests/contour-ingresses.yaml");
        cluster.apply(&class.replace("$CLASS", cluster.ingress_class())).await?;
    }
    await_rollout(cluster, NAMESPACE, "deployment/contour").await?;
    await_rollout(cluster, NAMESPACE, "daemonset/envoy").await
}

/// Contour's manifest with our images and ingress class, and without the objects that our manifests replace.
fn adapted(published: &str, class: &str) -> Result<String> {
    let replaced = ["kind: GatewayClass", "kind: Gateway", "kind: ConfigMap"];
    let is_kept = |object: &&str| !object.lines().any(|line| replaced.contains(&line));
    let kept: Vec<_> = published.split("\n---\n").filter(is_kept).collect();
    let (mut images, mut starts) = (0, 0);
    let mut lines = Vec::new();
    for line in kept.join("\n---\n").lines() {
        if let Some(indentation) = line.strip_suffix("- serve") {
            lines.push(line.to_owned());
            lines.push(format!("{indentation}- --ingress-class-name={class}"));
            starts += 1;
            continue;
        }
        match line.split_once("image: ") {
            Some((indentation, image)) => {
                let ours = if image.contains("/envoy:") { ENVOY_IMAGE } else { CONTOUR_IMAGE };
                lines.push(format!("{indentation}image: {ours}"));
                images += 1;
            }
            None => lines.push(line.to_owned()),
        }
    }
    ensure!(
        (images, starts) == (5, 1),
        "Contour's manifest has {images} images, not 5, or {starts} lines `- serve`, not 1: adapt the testbed's contour.rs"
    );
    Ok(lines.join("\n"))
}
