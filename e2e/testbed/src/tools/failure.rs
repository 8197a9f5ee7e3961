//! What went wrong with a tool, as one paragraph with the way out.

use std::{fmt::Display, path::Path};

use anyhow::anyhow;

/// How much of a failed program's output is worth showing.
const SHOWN_LINES: usize = 12;

/// The cache cannot be written.
pub(super) fn cache(folder: &Path, error: &std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return disk_full(folder);
    }
    anyhow!(
        "the cache folder {} can't be written ({error}): make it writable, or set {} to a folder that is",
        folder.display(),
        xtask::paths::CACHE_VARIABLE
    )
}

/// A program that was asked to build or fetch something failed; `output` is what it printed.
pub(super) fn program(what: &str, output: &str, log: &Path, advice: impl Display) -> anyhow::Error {
    if output.contains("no space left on device") || output.contains("No space left on device") {
        return disk_full(log);
    }
    let lines: Vec<&str> = output.lines().filter(|line| !line.starts_with("go: downloading")).collect();
    let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n    ");
    anyhow!("{what} failed: {advice}. The whole output is in {}; it ends with\n    {shown}", log.display())
}

fn disk_full(path: &Path) -> anyhow::Error {
    anyhow!(
        "the disk is full at {}: the tools take about 1 GB there and Go's own caches about 4 GB (see `go env GOCACHE \
         GOMODCACHE`). Free some space, or set {} (and GOCACHE, GOMODCACHE) to a folder on a larger disk, and run \
         the same command again: what is built already is kept",
        path.display(),
        xtask::paths::CACHE_VARIABLE
    )
}
