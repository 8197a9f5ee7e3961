//! The control groups of a cluster's containers: one folder in every hierarchy, of version 1 or 2.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

const MOUNT: &str = "/sys/fs/cgroup";

/// The kernel lets go of a dead process's group a moment after the process.
const PATIENCE: Duration = Duration::from_secs(10);

/// The path of a cluster's groups below each hierarchy's root, as the kubelet's `cgroupRoot` takes it.
pub(crate) fn path(cluster: &str) -> String {
    format!("/testbed-{cluster}")
}

/// Makes a cluster's groups.
pub(super) fn create(cluster: &str) -> Result<()> {
    for folder in folders(cluster)? {
        fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    }
    Ok(())
}

/// Removes a cluster's groups with all below. Their processes must be dead or dying.
pub(crate) fn remove(cluster: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for folder in folders(cluster)? {
        while let Err(error) = remove_tree(&folder) {
            if Instant::now() > deadline {
                bail!("the control group {} can't be removed: {error}", folder.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// The cluster's folder in each hierarchy, whether it exists or not.
fn folders(cluster: &str) -> Result<Vec<PathBuf>> {
    let name = path(cluster);
    let below = |root: &Path| root.join(name.trim_start_matches('/'));
    if Path::new(MOUNT).join("cgroup.controllers").exists() {
        return Ok(vec![below(Path::new(MOUNT))]);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(MOUNT).with_context(|| format!("failed to list {MOUNT}"))? {
        let root = entry?.path();
        // Hierarchies only; symbolic links are second names of them.
        if !root.is_symlink() && root.join("cgroup.procs").exists() {
            folders.push(below(&root));
        }
    }
    Ok(folders)
}

/// Removes folders from the leaves up; the files in them are the kernel's.
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
