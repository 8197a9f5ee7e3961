//! Takes a program from packages of this machine's Debian, without installing them.
//! Must not know which programs there are. Next: `catalog.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Result, anyhow};
use tokio::process::Command;
use xtask::process::text;

use super::{catalog::Packages, failure};

/// Downloads packages into `folder`, and unpacks them to `root` when all are there. The caller holds the folder's lock.
pub(super) async fn fetch(packages: &Packages, folder: &Path, root: &Path) -> Result<()> {
    let download = folder.join("packages");
    let unpacked = folder.join("unpacked");
    for path in [&download, &unpacked] {
        _ = fs::remove_dir_all(path);
        fs::create_dir_all(path).map_err(|error| failure::cache(folder, &error))?;
    }
    let names: Vec<_> = packages.names.iter().map(ToString::to_string).collect();
    // As root, apt would download as a user that can't write into the cache.
    let mut arguments = vec!["-o".to_owned(), "APT::Sandbox::User=root".to_owned(), "download".to_owned()];
    arguments.extend(names);
    let name = packages.name;
    run(
        name,
        "apt-get",
        &arguments,
        &download,
        folder,
        "run `apt-get update` as root, and run the same command again. The packages are those of Debian 12: on another \
         release, adapt their names in e2e/testbed/src/tools/catalog.rs",
    )
    .await?;
    for archive in archives(&download).map_err(|error| failure::cache(folder, &error))? {
        let arguments = [&archive, &unpacked].map(|path| path.to_string_lossy().into_owned());
        let arguments = [&["-x".to_owned()][..], &arguments].concat();
        run(name, "dpkg", &arguments, folder, folder, "free some space, and run the same command again")
            .await?;
    }
    _ = fs::remove_dir_all(&download);
    _ = fs::remove_dir_all(root);
    fs::rename(&unpacked, root).map_err(|error| failure::cache(folder, &error))
}

fn archives(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// Runs a program of Debian in `working`.
async fn run(
    name: &str,
    program: &str,
    arguments: &[String],
    working: &Path,
    folder: &Path,
    advice: &str,
) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(working)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            anyhow!(
                "failed to start {program}, which fetches the testbed's {name} from Debian's packages: {error}. Run the \
                 command on Debian 12, or choose another ingress controller"
            )
        })?;
    let printed = text(&output);
    let log = folder.join(format!("{program}.log"));
    _ = fs::write(&log, &printed);
    if output.status.success() {
        return Ok(());
    }
    Err(failure::program(&format!("fetching {name} with {program}"), &printed, &log, advice))
}
