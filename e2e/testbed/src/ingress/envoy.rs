//! Envoy with the libraries that it is linked to, as files of an image. Next: `istio.rs` and `contour.rs`, which configure it.

use anyhow::Result;
use xtask::image::ImageFile;

pub(super) use super::files::file;
use super::files::libraries;
use crate::tools::{Tool, Tools};

/// Where Envoy is in images, relative to the root. In the `PATH` of containers.
const TARGET: &str = "usr/local/bin/envoy";

/// Envoy, and the C library of this machine, which the release binary needs.
pub(super) fn files(tools: &Tools) -> Result<Vec<ImageFile>> {
    let envoy = tools.path(Tool::Envoy);
    let mut files = libraries(&envoy, &[])?;
    files.push(file(envoy, TARGET));
    Ok(files)
}
