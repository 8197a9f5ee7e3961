//! The cluster's own network: loopback, and a bridge with the node's address.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    cluster::layout::{NODE_ADDRESS, NODE_NAME},
    tools::host,
};

/// Sets up the network namespace of this process.
pub(super) fn set_up() -> Result<()> {
    let address = format!("{NODE_ADDRESS}/24");
    for command in [
        &["link", "set", "lo", "up"][..],
        // A bridge, because every kernel that runs containers has that type.
        &["link", "add", NODE_NAME, "type", "bridge"],
        &["addr", "add", &address, "dev", NODE_NAME],
        &["link", "set", NODE_NAME, "up"],
        // The kubelet wants a default route; nothing answers there.
        &["route", "add", "default", "dev", NODE_NAME],
    ] {
        ip(command)?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to allow IP forwarding")?;
    // The testbed's programs bind port 80 and 443, whoever runs them.
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        .context("failed to free the low ports")?;
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let program = host::find("ip").context("ip(8) is missing")?;
    let output = Command::new(program).args(arguments).output().context("failed to run ip(8)")?;
    if !output.status.success() {
        bail!("`ip {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
