//! The outermost process: starts the cluster's namespaces, waits until they end, and removes what the kernel doesn't.
//! Runs on the host, and knows nothing about what runs inside. Next: `init.rs`.

use std::{env, process::Command};

use anyhow::{Context, Result};
use nix::unistd;

use super::{cgroups, parameters::Parameters};
use crate::{cluster::options::Mode, tools::host};

pub(super) fn run(parameters: &Parameters) -> Result<()> {
    // In its own session, so that neither Ctrl-C nor a closed terminal ends the cluster.
    unistd::setsid().context("failed to start a session")?;
    let unshare = host::find("unshare").context("unshare(1) is missing")?;
    let mut inside = Command::new(unshare);
    inside.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !unistd::geteuid().is_root() {
        inside.args(["--user", "--map-root-user"]);
    }
    inside.arg("--").arg(env::current_exe()?).args(parameters.arguments("init")?);
    let ended = inside.status().context("failed to run unshare(1)")?;
    eprintln!("the cluster's namespaces ended: {ended}");
    if parameters.mode == Mode::Node {
        cgroups::remove(&parameters.name)?;
    }
    std::fs::remove_dir_all(&parameters.state)
        .with_context(|| format!("failed to remove {}", parameters.state.display()))
}
