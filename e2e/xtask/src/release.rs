//! Builds the images of the operator and the solver: a static binary and one image of each.
//! Knows cargo and its profiles, and nothing about what the programs do. Next: `image.rs` for the format.

use std::{
    fs::File,
    io::{Read, Seek},
    mem,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    image::{Image, NON_ROOT},
    paths,
    process::cargo,
    progress::Steps,
    tool::CARGO_AUDITABLE,
};

/// The packages that become images.
pub const PACKAGES: [&str; 2] = ["operator", "http01-solver"];

/// How the binaries in the images are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageProfile {
    /// As published: small, fast, and slow to build. For everything that is pushed or measured.
    Release,
    /// Quick to build. For the demo, whose user waits for it.
    Fast,
}

/// An image in an archive.
#[derive(Clone, Debug)]
pub struct Built {
    /// Full reference, such as `localhost/operator:0.1.0`.
    pub reference: String,
    /// The OCI archive.
    pub archive: PathBuf,
    /// The binary in it.
    pub binary: PathBuf,
    /// The digest of its manifest.
    pub digest: String,
}

/// A build of the binaries in the background. It is killed when this is dropped.
#[derive(Debug)]
pub struct Build {
    cargo: Child,
    /// The standard error of cargo.
    output: File,
    profile: ImageProfile,
    /// Where cargo puts the binaries.
    folder: PathBuf,
    /// Whether this is the first build with the profile, which compiles every dependency.
    is_first: bool,
}

/// The folder of this checkout's images. Each profile has its own, so that nothing measures a fast image by mistake.
pub fn image_folder(profile: ImageProfile) -> PathBuf {
    paths::workspace().join(match profile {
        ImageProfile::Release => "target/images",
        ImageProfile::Fast => "target/images-fast",
    })
}

/// Builds both images of a checkout, and writes them into a folder.
pub fn build_images(
    source: &Path,
    folder: &Path,
    profile: ImageProfile,
    steps: &Steps,
) -> Result<Vec<Built>> {
    let build = Build::start(source, profile, steps)?;
    let step = steps.begin("building the images", Some(build.usual_time()));
    let images = build.write_images(folder)?;
    step.done(folder.display());
    Ok(images)
}

impl Build {
    /// Starts to build static binaries. Their bytes don't depend on the paths of the checkout and of cargo's home.
    /// Those of a release list their dependencies, which scanners of images read.
    pub fn start(source: &Path, profile: ImageProfile, steps: &Steps) -> Result<Self> {
        let target = host_target()?;
        let cargo_home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
            .context("this user has no home directory: set CARGO_HOME")?;
        let flags = [
            // The image has no C library, so the binary must contain it.
            "-C".to_owned(),
            "target-feature=+crt-static".to_owned(),
            format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
            format!("--remap-path-prefix={}=/source", source.display()),
        ];
        let flags = serde_json::to_string(&flags)?;
        // A file, because nothing reads the output while cargo runs, and a full pipe would block it.
        let output = tempfile::tempfile().context("failed to create a file for cargo's output")?;
        let mut cargo = match profile {
            ImageProfile::Release => auditable_cargo(steps)?,
            ImageProfile::Fast => cargo(&[]),
        };
        let cargo = cargo
            .args(["build", "--profile", profile.name(), "--locked", "--target", &target])
            .args(PACKAGES.iter().flat_map(|package| ["--package", package]))
            .arg("--config")
            .arg(format!("target.{target}.rustflags={flags}"))
            .current_dir(source)
            .env_remove("RUSTFLAGS")
            .stdout(Stdio::null())
            .stderr(output.try_clone()?)
            .spawn()
            .context("failed to start cargo")?;
        let folder = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| source.join("target"), |folder| source.join(folder))
            .join(target)
            .join(profile.name());
        let is_first = !PACKAGES.iter().all(|package| folder.join(package).exists());
        Ok(Self { cargo, output, profile, folder, is_first })
    }

    /// How long this build usually takes on two cores.
    pub fn usual_time(&self) -> Duration {
        self.profile.usual_time(self.is_first)
    }

    /// Waits for the build to finish, and writes the images into a folder.
    pub fn write_images(self, folder: &Path) -> Result<Vec<Built>> {
        // Only release images are pushed.
        let compressed = self.profile == ImageProfile::Release;
        let binaries = self.finish()?;
        let mut images = Vec::new();
        for package in PACKAGES {
            let reference = format!("localhost/{package}:{}", env!("CARGO_PKG_VERSION"));
            let archive = folder.join(format!("{package}.tar"));
            let image = Image { compressed, ..Image::new(&reference, binaries.join(package), NON_ROOT) };
            let digest = image.write(&archive)?;
            images.push(Built { reference, archive, binary: binaries.join(package), digest });
        }
        Ok(images)
    }

    /// Waits for the build to finish, and returns the folder of the binaries.
    pub fn finish(mut self) -> Result<PathBuf> {
        let status = self.cargo.wait().context("failed to wait for cargo")?;
        if !status.success() {
            let mut printed = String::new();
            self.output.rewind()?;
            self.output.read_to_string(&mut printed)?;
            bail!("failed to build with the profile {}:\n{}", self.profile.name(), printed.trim());
        }
        Ok(mem::take(&mut self.folder))
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        _ = self.cargo.kill();
        _ = self.cargo.wait();
    }
}

impl ImageProfile {
    /// The name of the cargo profile and of its output folder.
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Fast => "fast",
        }
    }

    /// How long a build usually takes on two cores. A later build compiles only what changed.
    fn usual_time(self, is_first: bool) -> Duration {
        match (self, is_first) {
            (Self::Release, true) => Duration::from_mins(7),
            (Self::Release, false) => Duration::from_secs(90),
            (Self::Fast, true) => Duration::from_mins(4),
            (Self::Fast, false) => Duration::from_secs(45),
        }
    }
}

/// A cargo whose binaries list their dependencies.
fn auditable_cargo(steps: &Steps) -> Result<Command> {
    let auditable = CARGO_AUDITABLE.binary(steps)?;
    let folder = auditable.parent().context("the path of cargo-auditable has no parent")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path)))?;
    let mut command = cargo(&["auditable"]);
    command.env("PATH", path);
    Ok(command)
}

/// The target triple of this machine, such as `x86_64-unknown-linux-gnu`.
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
