//! `cargo xtask image`: our two images, from static release binaries.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use e2e::{
    cluster::Cluster,
    image::{Image, NON_ROOT},
    paths,
    progress::Steps,
};
use tokio::process::Command;

/// The packages that become images.
const PACKAGES: [&str; 2] = ["operator", "http01-solver"];

/// An image that was written.
pub(crate) struct Built {
    pub(crate) reference: String,
    pub(crate) archive: PathBuf,
    pub(crate) digest: String,
}

/// Builds this checkout's images, and imports them into a cluster's node.
pub(crate) async fn load(cluster: &Cluster, steps: &Steps) -> Result<()> {
    let workspace = paths::workspace();
    for image in build(workspace, &workspace.join("target/images"), steps).await? {
        let step = steps.begin(format!("importing {}", image.reference), None);
        cluster.load_image(&image.archive).await?;
        step.done("");
    }
    Ok(())
}

/// Builds both images of a checkout into a folder.
pub(crate) async fn build(source: &Path, folder: &Path, steps: &Steps) -> Result<Vec<Built>> {
    let step = steps.begin("building the images", Some(Duration::from_secs(90)));
    let binaries = release_binaries(source).await?;
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
pub(crate) async fn release_binaries(source: &Path) -> Result<PathBuf> {
    let target = host_target().await?;
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
    let mut cargo = Command::from(crate::cargo(&["build", "--release", "--locked", "--target", &target]));
    cargo
        .args(PACKAGES.iter().flat_map(|package| ["--package", package]))
        .arg("--config")
        .arg(format!("target.{target}.rustflags={flags}"))
        .current_dir(source)
        .env_remove("RUSTFLAGS")
        .kill_on_drop(true);
    let output = cargo.output().await.context("failed to start cargo")?;
    if !output.status.success() {
        bail!("the release build failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| source.join("target"), |folder| source.join(folder));
    Ok(folder.join(target).join("release"))
}

/// The target triple of this machine.
async fn host_target() -> Result<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("-vV")
        .current_dir(paths::workspace())
        .output()
        .await
        .context("failed to start rustc")?;
    String::from_utf8(output.stdout)?
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(ToOwned::to_owned)
        .context("rustc did not tell its host")
}
