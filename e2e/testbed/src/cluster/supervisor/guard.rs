//! Outside the cluster's namespaces: starts them, waits for their end, and removes what the kernel does not.

use std::{env, process::Command};

use anyhow::{Context, Result};
use nix::unistd;

use super::{cgroups, orders::Orders};
use crate::{cluster::options::Mode, tools::host};

pub(super) fn run(orders: &Orders) -> Result<()> {
    // Its own session: neither Ctrl-C nor a closing terminal is meant for the cluster.
    unistd::setsid().context("failed to start a session")?;
    let unshare = host::find("unshare").context("unshare(1) is missing")?;
    let mut inside = Command::new(unshare);
    inside.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !unistd::geteuid().is_root() {
        inside.args(["--user", "--map-root-user"]);
    }
    inside.arg("--").arg(env::current_exe()?).args(orders.arguments("init")?);
    let ended = inside.status().context("failed to run unshare(1)")?;
    eprintln!("the cluster's namespaces ended: {ended}");
    if orders.mode == Mode::Node {
        cgroups::remove(&orders.name)?;
    }
    std::fs::remove_dir_all(&orders.state)
        .with_context(|| format!("failed to remove {}", orders.state.display()))
}
