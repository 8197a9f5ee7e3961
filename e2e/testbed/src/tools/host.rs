//! Programs of the operating system, such as the container runtime and `ip`. Installs missing ones on Debian and Ubuntu
//! if this user is root, otherwise the error has the command. Must not know what they are used for.
//! Next: `bring_up.rs`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::process::Command;

use xtask::{process::text, progress::Steps};

/// The folders that are searched for the system's programs, in addition to the caller's `PATH`.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The folder of the CNI plugins on Debian.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";

/// A program, by its name or path, and the Debian package that contains it.
pub type Need = (&'static str, &'static str);

/// The programs that a cluster without a node needs.
pub const CONTROL_PLANE: &[Need] =
    &[("ip", "iproute2"), ("unshare", "util-linux"), ("setpriv", "util-linux")];

/// The programs that a cluster with a node needs.
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

/// The programs that clusters need in which policies are enforced, or in which a proxy is the only way out.
pub const EGRESS: &[Need] = &[("ipset", "ipset"), ("iptables", "iptables"), ("tinyproxy", "tinyproxy-bin")];

/// The programs with which Cilium compiles what it loads into the kernel, and translates addresses.
pub const CILIUM: &[Need] =
    &[("/usr/lib/llvm-19/bin/clang", "clang-19"), ("iptables", "iptables"), ("ip6tables", "iptables")];

/// The programs that tests of the Pebble level need: setpriv ends their processes, the others read keys and key stores.
pub const PEBBLE: &[Need] =
    &[("setpriv", "util-linux"), ("openssl", "openssl"), ("keytool", "default-jre-headless")];

/// Checks that programs are installed, and installs missing ones if possible.
///
/// # Errors
/// The missing packages, with the command that installs them.
pub async fn ensure(needs: &[Need], steps: &Steps) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !nix::unistd::geteuid().is_root() || find("apt-get").is_none() {
        bail!(
            "programs of these packages are missing on this system: {}. On Debian or Ubuntu, install them as root with \
             `{command}`; elsewhere, install the packages with the same programs; then run the same command again",
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

/// The missing packages, without duplicates.
fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (file, package) in needs {
        if find(file).is_none() && !packages.contains(package) {
            packages.push(package);
        }
    }
    packages
}

/// The path of a program. An absolute path is returned if it exists.
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
            "`apt-get {}` failed: fix the problem, and run the same command again. Its output is\n{}",
            arguments.join(" "),
            text(&output)
        );
    }
    Ok(())
}
