//! Programs of crates.io that tasks need, each built once per version into the cache of tools.
//! Knows `cargo install`, and nothing about what the programs do. Next: `supply_chain.rs`, which uses some.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};

use crate::{
    paths,
    process::{self, cargo},
    progress::Steps,
};

/// A program of crates.io. Its version is pinned, because another one may do something else.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The crate, whose binary has the same name.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
}

/// Checks dependencies.
pub const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// Builds binaries that list their dependencies.
pub const CARGO_AUDITABLE: Tool = Tool { name: "cargo-auditable", version: "0.7.7" };

/// Converts that list to CycloneDX.
pub const AUDITABLE2CDX: Tool = Tool { name: "auditable2cdx", version: "0.1.0" };

impl Tool {
    /// The binary in the cache, which is built if it is missing.
    ///
    /// # Errors
    /// It can't be downloaded or built.
    pub fn binary(self, steps: &Steps) -> Result<PathBuf> {
        let Self { name, version } = self;
        let root = paths::cache()?.join("tools").join(format!("{name}-{version}"));
        let binary = root.join("bin").join(name);
        if !binary.exists() {
            let step = steps.begin(format!("building {name}"), Some(Duration::from_mins(4)));
            let root = root.to_str().context("the path of the cache is not UTF-8")?;
            let package = format!("{name}@{version}");
            process::run(&mut cargo(&["install", "--quiet", "--locked", "--root", root, &package]))?;
            step.done("");
        }
        Ok(binary)
    }
}
