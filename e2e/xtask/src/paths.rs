//! The folders of the testbed: a cache that all checkouts share, and one folder per running cluster.
//! Knows nothing about what is in them. Next: `tools` of the testbed for the cache, `cluster` for the clusters.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The environment variable that sets the folder of the cache of tools and their images.
pub const CACHE_VARIABLE: &str = "ACME_OPERATOR_CACHE";

/// The environment variable that sets the folder for the state of running clusters.
pub const STATE_VARIABLE: &str = "ACME_OPERATOR_STATE";

/// The cache of tools and their images: `$ACME_OPERATOR_CACHE`, or else `acme-operator` in the
/// [XDG](https://specifications.freedesktop.org/basedir/latest/) cache folder.
pub fn cache() -> Result<PathBuf> {
    user_folder(CACHE_VARIABLE, "XDG_CACHE_HOME", ".cache")
}

/// The parent of the clusters' folders: `clusters` in `$ACME_OPERATOR_STATE`, or else in `acme-operator` in the XDG
/// state folder.
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
            .with_context(|| format!("failed to use {} as {own}", path.display()));
    }
    let base = match env::var_os(xdg).filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path),
        None => env::home_dir()
            .filter(|home| home.is_absolute())
            .with_context(|| format!("this user has no home directory: set {own} to a folder for the files"))?
            .join(in_home),
    };
    Ok(base.join("acme-operator"))
}
