//! Contour and Envoy from Contour's own manifest, which also has the CRDs of the Gateway API, in an older version than the other ingress
//! controllers of the testbed use. It serves one Gateway. Next: `manifests/contour.yaml`.

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

/// Starts Contour and Envoy, and waits until both are ready.
pub(crate) async fn start(cluster: &Cluster) -> Result<()> {
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

    let manifest =
        cluster.tools().module_of(Tool::Contour, MODULE).await?.join("examples/render/contour-gateway.yaml");
    let published =
        fs::read_to_string(&manifest).with_context(|| format!("failed to read {}", manifest.display()))?;
    cluster.apply(&adapted(&published)?).await?;
    crate::gateway_api::await_definitions(cluster).await?;
    cluster.apply(include_str!("../../manifests/contour.yaml")).await?;
    await_rollout(cluster, NAMESPACE, "deployment/contour").await?;
    await_rollout(cluster, NAMESPACE, "daemonset/envoy").await
}

/// Contour's manifest with our images, and without the objects that `manifests/contour.yaml` replaces.
fn adapted(published: &str) -> Result<String> {
    let replaced = ["kind: GatewayClass", "kind: Gateway", "kind: ConfigMap"];
    let is_kept = |object: &&str| !object.lines().any(|line| replaced.contains(&line));
    let kept: Vec<_> = published.split("\n---\n").filter(is_kept).collect();
    let mut images = 0;
    let mut lines = Vec::new();
    for line in kept.join("\n---\n").lines() {
        match line.split_once("image: ") {
            Some((indentation, image)) => {
                let ours = if image.contains("/envoy:") { ENVOY_IMAGE } else { CONTOUR_IMAGE };
                lines.push(format!("{indentation}image: {ours}"));
                images += 1;
            }
            None => lines.push(line.to_owned()),
        }
    }
    ensure!(images == 5, "Contour's manifest has {images} images, not 5: adapt the testbed's contour.rs");
    Ok(lines.join("\n"))
}
