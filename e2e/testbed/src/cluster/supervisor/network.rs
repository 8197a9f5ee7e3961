//! The network of a cluster: loopback, and a bridge with the node's address.
//! Knows nothing about Pods, which the CNI plugin connects. Next: `layout.rs` for the addresses.

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
        // A bridge, because every kernel that runs containers supports it.
        &["link", "add", NODE_NAME, "type", "bridge"],
        &["addr", "add", &address, "dev", NODE_NAME],
        &["link", "set", NODE_NAME, "up"],
        // The kubelet requires a default route. Nothing answers there.
        &["route", "add", "default", "dev", NODE_NAME],
    ] {
        ip(command)?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to allow IP forwarding")?;
    // Traefik binds ports 80 and 443, also without root.
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        .context("failed to allow ports below 1024")?;
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let program = host::find("ip").context("failed to find ip(8)")?;
    let output = Command::new(program).args(arguments).output().context("failed to run ip(8)")?;
    if !output.status.success() {
        bail!("`ip {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
