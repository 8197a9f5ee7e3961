//! PID 1 of a cluster: sets up its mounts and network, starts `serve`, and reaps orphans until that ends.
//! Must not start the cluster's programs. Next: `serve.rs`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::wait::{WaitStatus, wait},
    unistd::Pid,
};

use super::{
    cgroups, network,
    parameters::{PID_NAMESPACE, Parameters},
};
use crate::cluster::{
    layout::{Layout, NODE_ADDRESS},
    options::Mode,
};

const RESOLVER: &str = "/etc/resolv.conf";

pub(super) fn run(parameters: &Parameters) -> Result<()> {
    let namespace =
        fs::read_link("/proc/self/ns/pid").context("failed to read the PID namespace of this process")?;
    fs::write(parameters.state.join(PID_NAMESPACE), namespace.as_os_str().as_encoded_bytes())?;
    mounts(parameters).context("failed to set up the cluster's mounts")?;
    network::set_up().context("failed to set up the cluster's network")?;
    if parameters.mode == Mode::Node {
        cgroups::create(&parameters.name)?;
    }
    let serve = Command::new("/proc/self/exe")
        .args(parameters.arguments("serve")?)
        .spawn()
        .context("failed to start the supervisor")?;
    let serve = Pid::from_raw(i32::try_from(serve.id())?);
    loop {
        match wait() {
            // When PID 1 returns, the kernel kills whatever is left.
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid == serve => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("failed to wait for processes"),
        }
    }
}

/// Mounts a new `/run` with the cluster's files, and on a node also the folders whose paths are fixed in Kubernetes.
fn mounts(parameters: &Parameters) -> Result<()> {
    // It may be a link into the old /run.
    let resolver = fs::canonicalize(RESOLVER).unwrap_or_else(|_| PathBuf::from(RESOLVER));
    let staging = parameters.state.join("run");
    fs::create_dir_all(&staging)?;
    mount(Some("testbed"), &staging, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .context("failed to mount a tmpfs")?;
    bind(&parameters.state, &staging.join("testbed/state"))?;
    bind(&parameters.cache, &staging.join("testbed/cache"))?;
    mount(Some(&staging), "/run", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("failed to move to /run")?;
    let inside = Layout::inside();
    if parameters.mode == Mode::Node {
        for (own, fixed) in [("var-lib", "/var/lib"), ("var-log", "/var/log")] {
            let own = inside.path(own);
            fs::create_dir_all(&own)?;
            bind(&own, Path::new(fixed))?;
        }
    }
    let own_resolver = inside.path("resolv.conf");
    fs::write(&own_resolver, format!("nameserver {NODE_ADDRESS}\noptions timeout:1\n"))?;
    if !resolver.exists() {
        fs::create_dir_all(
            resolver.parent().context("the path of the resolver's configuration has no parent")?,
        )?;
        fs::write(&resolver, "")?;
    }
    bind(&own_resolver, &resolver)?;
    fs::set_permissions("/run", fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
    }
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("failed to mount {} at {}", from.display(), to.display()))
}
