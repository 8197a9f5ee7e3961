//! Programs that come with the operating system: the container runtime, what sets up a network, what reads key stores.
//! Installed where that is allowed and known how; otherwise the command is told.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::process::Command;

use xtask::{process::text, progress::Steps};

/// Where programs of the system are looked for, whatever the caller's `PATH`.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where Debian puts the CNI plugins.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";

/// A file that must exist, and the Debian package that brings it.
pub type Need = (&'static str, &'static str);

/// What a cluster needs without a node.
pub const CONTROL_PLANE: &[Need] =
    &[("ip", "iproute2"), ("unshare", "util-linux"), ("setpriv", "util-linux")];

/// What a cluster with a node needs.
pub const NODE: &[Need] = &[
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/lib/cni/portmap", "containernetworking-plugins"),
];

/// What tests of the Pebble level need: a process's guard, and what users read keys and key stores with.
pub const PEBBLE: &[Need] =
    &[("setpriv", "util-linux"), ("openssl", "openssl"), ("keytool", "default-jre-headless")];

/// Makes sure that the system's programs are there.
///
/// # Errors
/// What is missing, with the command that installs it, where this process can't.
pub async fn ensure(needs: &[Need], steps: &Steps) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !nix::unistd::geteuid().is_root() || find("apt-get").is_none() {
        bail!(
            "this system lacks programs that are needed here: {}. On Debian or Ubuntu, install them as root with \
             `{command}`; elsewhere, install what brings the same programs; then run the same command again",
            missing.join(", ")
        );
    }
    let step = steps.begin(format!("installing {}", missing.join(", ")), Some(Duration::from_secs(20)));
    apt(&["update"]).await?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&arguments).await?;
    step.done("");
    Ok(())
}

/// The packages that are missing, each once.
fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (file, package) in needs {
        if find(file).is_none() && !packages.contains(package) {
            packages.push(package);
        }
    }
    packages
}

/// Where a program of the system is; an absolute path stands for itself.
pub fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    let own = env::var("PATH").unwrap_or_default();
    own.split(':')
        .chain(SYSTEM_PATH.split(':'))
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.is_file())
}

async fn apt(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!(
            "`apt-get {}` failed: run it by hand, mend what it complains of, and run the same command again. It said\n{}",
            arguments.join(" "),
            text(&output)
        );
    }
    Ok(())
}
