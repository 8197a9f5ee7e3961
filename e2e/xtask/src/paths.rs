//! Where the testbed keeps its files: a cache that outlives checkouts, and a folder per running cluster.
//! Knows nothing of what is in them.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Environment variable that moves the cache of built tools and images.
pub const CACHE_VARIABLE: &str = "ACME_OPERATOR_CACHE";

/// Environment variable that moves the folder of running clusters.
pub const STATE_VARIABLE: &str = "ACME_OPERATOR_STATE";

/// The cache of built tools and images: `$ACME_OPERATOR_CACHE`, else `acme-operator` under the
/// [XDG](https://specifications.freedesktop.org/basedir/latest/) cache folder.
pub fn cache() -> Result<PathBuf> {
    user_folder(CACHE_VARIABLE, "XDG_CACHE_HOME", ".cache")
}

/// The folder with one folder per cluster: `clusters` under `$ACME_OPERATOR_STATE`, else under `acme-operator`
/// in the XDG state folder.
pub fn clusters() -> Result<PathBuf> {
    Ok(user_folder(STATE_VARIABLE, "XDG_STATE_HOME", ".local/state")?.join("clusters"))
}

/// The root of this checkout.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate is e2e/xtask of the workspace")
}

fn user_folder(own: &str, xdg: &str, in_home: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os(own).filter(|path| !path.is_empty()) {
        return std::path::absolute(&path)
            .with_context(|| format!("{own} is not a usable path: {}", path.display()));
    }
    let base = match env::var_os(xdg).filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path),
        None => env::home_dir()
            .filter(|home| home.is_absolute())
            .with_context(|| format!("no home directory is known: set {own} to a folder to keep files in"))?
            .join(in_home),
    };
    Ok(base.join("acme-operator"))
}
