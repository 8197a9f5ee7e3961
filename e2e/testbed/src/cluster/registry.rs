//! The clusters of this user, by their folders, and how a cluster in any state is removed.
//! Knows nothing about what runs in a cluster. Next: `supervisor/` for the processes.

use std::{
    fs::{self, File},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::unistd;
use serde::{Deserialize, Serialize};
use xtask::paths;

use super::{
    control::{Connection, Request},
    layout::Layout,
    options::{IngressController, Mode, Network},
    supervisor,
};

/// The name of the cluster that `cargo xtask cluster up` starts by default.
pub const DEFAULT_NAME: &str = "dev";

/// How long a cluster may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest name. It becomes part of paths and of control groups.
const NAME_LIMIT: usize = 40;

/// The longest path of a Unix socket: `sun_path` in unix(7), without the final zero.
const SOCKET_PATH_LIMIT: usize = 107;

/// The file of a cluster's [`Record`].
pub(crate) const RECORD: &str = "cluster.json";
/// The kubeconfig with all rights, for programs on the host.
pub(crate) const ADMIN_KUBECONFIG: &str = "kubeconfig.yaml";

/// The facts about a cluster that are kept in its folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) network: Network,
    pub(crate) relay: SocketAddr,
    pub(crate) ingress: IngressController,
    pub(crate) gateway_api: bool,
    pub(crate) ingress_class: String,
}

/// Whether a cluster exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// There is no cluster of this name.
    Absent,
    /// There are files of it, but no process: the process that would have cleaned up was killed, too.
    Stale,
    /// Its supervisor is running.
    Running,
}

/// Whether a cluster of this name exists.
pub fn state_of(name: &str) -> Result<ClusterState> {
    let layout = layout_of(name)?;
    if !layout.root().exists() {
        return Ok(ClusterState::Absent);
    }
    let is_locked = File::open(layout.supervisor_log()).is_ok_and(|log| log.try_lock_shared().is_err());
    Ok(if is_locked { ClusterState::Running } else { ClusterState::Stale })
}

/// The names of all clusters of this user, running or stale.
pub fn names() -> Result<Vec<String>> {
    let entries = match fs::read_dir(paths::clusters()?) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Ends a cluster in any state, and removes what is left of it. Returns the state that it was in.
pub fn remove(name: &str) -> Result<ClusterState> {
    let layout = layout_of(name)?;
    let state = state_of(name)?;
    if state == ClusterState::Running {
        let asked =
            Connection::open(&layout.control_socket()).and_then(|mut it| it.ask::<()>(&Request::Stop));
        if asked.is_err() {
            // The supervisor doesn't answer.
            supervisor::kill(layout.root())?;
        }
    }
    let deadline = Instant::now() + END_TIMEOUT;
    while state_of(name)? == ClusterState::Running || supervisor::has_processes(layout.root())? {
        if Instant::now() > deadline {
            supervisor::kill(layout.root())?;
            bail!(
                "the cluster {name:?} did not end within {} s, and its supervisor was killed: run the same command \
                 again",
                END_TIMEOUT.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
    // Usually the guard has done this, unless it was killed.
    if unistd::geteuid().is_root() {
        supervisor::cgroups::remove(name)?;
    }
    match fs::remove_dir_all(layout.root()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", layout.root().display()))
        }
        _ => Ok(state),
    }
}

pub(crate) fn layout_of(name: &str) -> Result<Layout> {
    let sound = !name.is_empty()
        && name.len() <= NAME_LIMIT
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !sound {
        bail!(
            "{name:?} is not a valid name of a cluster: use up to {NAME_LIMIT} lowercase letters, digits, and '-'"
        );
    }
    let layout = Layout::outside(paths::clusters()?.join(name));
    if layout.control_socket().as_os_str().len() > SOCKET_PATH_LIMIT {
        bail!(
            "the path {} is too long for a socket: set {} to a folder with a shorter path",
            layout.control_socket().display(),
            paths::STATE_VARIABLE
        );
    }
    Ok(layout)
}

pub(crate) fn stale(name: &str) -> String {
    format!(
        "the cluster {name:?} was left behind by a run that was killed: none of its processes is running, but its \
         files exist. Remove them with {}, then run the same command again",
        command("down", name)
    )
}

pub(super) fn up_command(name: &str) -> String {
    command("up", name)
}

pub(crate) fn command(verb: &str, name: &str) -> String {
    if name == DEFAULT_NAME {
        format!("`cargo xtask cluster {verb}`")
    } else {
        format!("`cargo xtask cluster {verb} --name {name}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_that_leaves_the_folder_is_rejected() {
        for name in ["", "..", "a/b", "Dev", "a b", &"a".repeat(NAME_LIMIT + 1)] {
            assert!(layout_of(name).is_err(), "{name:?}");
        }
        assert!(layout_of("test-1234").is_ok());
    }

    #[test]
    fn error_names_the_whole_command() {
        assert!(stale("dev").contains("`cargo xtask cluster down`"));
        assert!(stale("other").contains("`cargo xtask cluster down --name other`"));
    }
}
