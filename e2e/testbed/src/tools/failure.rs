//! Errors of building a tool, as one paragraph that says what to do.
//! Knows texts only. Next: `go.rs` and `wheel.rs`, which fail with them.

use std::{fmt::Display, path::Path};

use anyhow::anyhow;

/// How many lines of a failed program's output are shown.
const SHOWN_LINES: usize = 12;

/// The error for a cache that can't be written.
pub(super) fn cache(folder: &Path, error: &std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return disk_full(folder);
    }
    anyhow!(
        "failed to write the cache {}: {error}. Make this folder writable, or set {} to a folder that is",
        folder.display(),
        xtask::paths::CACHE_VARIABLE
    )
}

/// The error for a program that failed while `what`, such as "building etcd". `output` is what it printed.
pub(super) fn program(what: &str, output: &str, log: &Path, advice: impl Display) -> anyhow::Error {
    if output.contains("no space left on device") || output.contains("No space left on device") {
        return disk_full(log);
    }
    let lines: Vec<&str> = output.lines().filter(|line| !line.starts_with("go: downloading")).collect();
    let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n    ");
    anyhow!("{what} failed: {advice}. The output is in {}, and ends with\n    {shown}", log.display())
}

fn disk_full(path: &Path) -> anyhow::Error {
    anyhow!(
        "the disk is full at {}: the tools need about 1 GB there, and Go's caches about 4 GB (see `go env GOCACHE \
         GOMODCACHE`). Free some space, or set {} (and GOCACHE and GOMODCACHE) to a folder on a larger disk. Then \
         run the same command again: finished tools are kept",
        path.display(),
        xtask::paths::CACHE_VARIABLE
    )
}
