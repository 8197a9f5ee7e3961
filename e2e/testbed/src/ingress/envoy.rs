//! Envoy with the libraries that it is linked to, as files of an image. Next: `istio.rs` and `contour.rs`, which configure it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use xtask::image::ImageFile;

use crate::tools::{Tool, Tools};

/// Where Envoy is in images, relative to the root. In the `PATH` of containers.
const TARGET: &str = "usr/local/bin/envoy";

/// Envoy, and the C library of this machine, which the release binary needs.
pub(super) fn files(tools: &Tools) -> Result<Vec<ImageFile>> {
    let envoy = tools.path(Tool::Envoy);
    let mut files = libraries(&envoy)?;
    files.push(file(envoy, TARGET));
    Ok(files)
}

/// A file of an image.
pub(super) fn file(source: impl Into<PathBuf>, target: &str) -> ImageFile {
    ImageFile { source: source.into(), target: target.into() }
}

/// The dynamic libraries of a program, among them the loader, at the same paths as on this machine.
fn libraries(program: &Path) -> Result<Vec<ImageFile>> {
    let output =
        Command::new("ldd").arg(program).output().context("failed to start ldd, a part of the C library")?;
    let printed = xtask::process::text(&output);
    ensure!(output.status.success(), "`ldd {}` failed: {}", program.display(), printed.trim());
    // A line is `libm.so.6 => /lib/libm.so.6 (0x…)`, or `/lib64/ld-linux-x86-64.so.2 (0x…)` for the loader.
    let paths = printed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let files: Vec<_> = paths.map(|path| file(path, path.trim_start_matches('/'))).collect();
    ensure!(!files.is_empty(), "`ldd {}` lists no libraries: {}", program.display(), printed.trim());
    Ok(files)
}
