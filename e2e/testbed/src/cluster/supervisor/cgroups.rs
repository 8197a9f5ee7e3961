//! The control groups of a cluster's containers: one folder in every hierarchy, for control groups of version 1 or 2.
//! Must not know which groups the kubelet makes below it. Next: `guard.rs`, which removes them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

const MOUNT: &str = "/sys/fs/cgroup";

/// How long to retry the removal. The kernel releases the group of a process shortly after the process has ended.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The path of a cluster's groups in each hierarchy, for the kubelet's `cgroupRoot`.
pub(crate) fn path(cluster: &str) -> String {
    format!("/testbed-{cluster}")
}

/// Creates a cluster's groups.
pub(super) fn create(cluster: &str) -> Result<()> {
    for folder in folders(cluster)? {
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    }
    Ok(())
}

/// Removes a cluster's groups and all groups in them. Their processes must be dead or dying.
pub(crate) fn remove(cluster: &str) -> Result<()> {
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    for folder in folders(cluster)? {
        while let Err(error) = remove_tree(&folder) {
            if Instant::now() > deadline {
                bail!("failed to remove the control group {}: {error}", folder.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// The path of the cluster's folder in each hierarchy, even if it doesn't exist.
fn folders(cluster: &str) -> Result<Vec<PathBuf>> {
    let name = path(cluster);
    let below = |root: &Path| root.join(name.trim_start_matches('/'));
    if Path::new(MOUNT).join("cgroup.controllers").exists() {
        return Ok(vec![below(Path::new(MOUNT))]);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(MOUNT).with_context(|| format!("failed to list {MOUNT}"))? {
        let root = entry?.path();
        // Only hierarchies, and no symbolic links to them.
        if !root.is_symlink() && root.join("cgroup.procs").exists() {
            folders.push(below(&root));
        }
    }
    Ok(folders)
}

/// Removes a folder and the folders in it. The kernel removes the files.
fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}
