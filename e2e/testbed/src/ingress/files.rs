//! Files of images: programs, and the libraries of this machine that they are linked to. Next: `envoy.rs` and `nginx.rs`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use xtask::image::ImageFile;

/// A file of an image.
pub(super) fn file(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> ImageFile {
    ImageFile { source: source.into(), target: target.into(), writable: false }
}

/// All files of a folder and its subfolders, below a path in the image.
pub(super) fn files_of(folder: &Path, target: &Path) -> Result<Vec<ImageFile>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let (source, target) = (entry.path(), target.join(entry.file_name()));
        if source.is_dir() {
            files.extend(files_of(&source, &target)?);
        } else {
            files.push(file(source, target));
        }
    }
    Ok(files)
}

/// The dynamic libraries of a program, among them the loader, at the same paths as on this machine. Libraries in `own` folders, which
/// are searched first, are left out.
pub(super) fn libraries(program: &Path, own: &[PathBuf]) -> Result<Vec<ImageFile>> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LD_LIBRARY_PATH", env::join_paths(own)?)
        .output()
        .context("failed to start ldd, a part of the C library")?;
    let printed = xtask::process::text(&output);
    ensure!(
        output.status.success() && !printed.contains("not found"),
        "`ldd {}` failed: {}. Install the packages of the libraries that are not found",
        program.display(),
        printed.trim()
    );
    // A line is `libm.so.6 => /lib/libm.so.6 (0x…)`, or `/lib64/ld-linux-x86-64.so.2 (0x…)` for the loader.
    let paths = printed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let files: Vec<_> = paths
        .filter(|path| !own.iter().any(|folder| Path::new(path).starts_with(folder)))
        .map(|path| file(path, path.trim_start_matches('/')))
        .collect();
    ensure!(!files.is_empty(), "`ldd {}` lists no libraries: {}", program.display(), printed.trim());
    Ok(files)
}
