//! Release builds of the operator and the solver: static binaries, and one image of each.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    image::{Image, NON_ROOT},
    paths,
    process::cargo,
    progress::Steps,
};

/// The packages that become images.
pub const PACKAGES: [&str; 2] = ["operator", "http01-solver"];

/// An image that was written.
#[derive(Clone, Debug)]
pub struct Built {
    /// Full reference, such as `localhost/operator:0.1.0`.
    pub reference: String,
    /// The OCI archive.
    pub archive: PathBuf,
    /// The digest of its manifest.
    pub digest: String,
}

/// The folder of the images that [`build_images`] writes for this checkout.
pub fn image_folder() -> PathBuf {
    paths::workspace().join("target/images")
}

/// Builds both images of a checkout into a folder.
pub fn build_images(source: &Path, folder: &Path, steps: &Steps) -> Result<Vec<Built>> {
    let step = steps.begin("building the images", Some(Duration::from_secs(90)));
    let binaries = build_binaries(source)?;
    let mut images = Vec::new();
    for package in PACKAGES {
        let binary = binaries.join(package);
        let reference = format!("localhost/{package}:{}", env!("CARGO_PKG_VERSION"));
        let archive = folder.join(format!("{package}.tar"));
        let digest =
            Image { compressed: true, ..Image::new(&reference, &binary, NON_ROOT) }.write(&archive)?;
        images.push(Built { reference, archive, digest });
    }
    step.done(folder.display());
    Ok(images)
}

/// Builds static binaries that don't depend on where the checkout and cargo's home are; returns their folder.
pub fn build_binaries(source: &Path) -> Result<PathBuf> {
    let target = host_target()?;
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor a home directory is known")?;
    let flags = [
        // The image is empty, so the binary brings its C library.
        "-C".to_owned(),
        "target-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
        format!("--remap-path-prefix={}=/source", source.display()),
    ];
    let flags = serde_json::to_string(&flags)?;
    let output = cargo(&["build", "--release", "--locked", "--target", &target])
        .args(PACKAGES.iter().flat_map(|package| ["--package", package]))
        .arg("--config")
        .arg(format!("target.{target}.rustflags={flags}"))
        .current_dir(source)
        .env_remove("RUSTFLAGS")
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!("the release build failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| source.join("target"), |folder| source.join(folder));
    Ok(folder.join(target).join("release"))
}

/// The target triple of this machine.
fn host_target() -> Result<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("-vV")
        .current_dir(paths::workspace())
        .output()
        .context("failed to start rustc")?;
    String::from_utf8(output.stdout)?
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(ToOwned::to_owned)
        .context("rustc -vV printed no host")
}
