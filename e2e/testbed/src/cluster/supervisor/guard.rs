//! Outside the cluster's namespaces: starts them, waits for their end, and removes what the kernel does not.

use std::{env, process::Command};

use anyhow::{Context, Result};
use nix::unistd;

use super::{cgroups, parameters::Parameters};
use crate::{cluster::options::Mode, tools::host};

pub(super) fn run(parameters: &Parameters) -> Result<()> {
    // Its own session: neither Ctrl-C nor a closing terminal is meant for the cluster.
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
