//! `cargo xtask check`: what must pass before a commit. Runs the tools in order, the fast ones first, and stops at the
//! first failure. Next: `tidy.rs` for the project's own rules.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use xtask::{
    paths,
    process::{self, cargo},
    progress::Steps,
};

use crate::{crdgen, tidy};

/// Pinned, because a newer version may have other rules.
const CARGO_DENY_VERSION: &str = "0.20.2";

pub(crate) fn run(steps: &Steps) -> Result<()> {
    let step = steps.begin("formatting", None);
    process::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    step.done("");

    let step = steps.begin("the project's own rules", None);
    tidy::run()?;
    step.done("");

    let step = steps.begin("generated files", None);
    crdgen::run(&paths::workspace().join(crdgen::FOLDER), true)?;
    step.done("");

    let step = steps.begin("lints", Some(Duration::from_mins(1)));
    process::run(&mut cargo(&[
        "clippy",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "--deny=warnings",
    ]))?;
    step.done("");

    let step = steps.begin("documentation", Some(Duration::from_secs(30)));
    process::run(
        cargo(&["doc", "--quiet", "--locked", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "--deny=warnings"),
    )?;
    step.done("");

    let deny = cargo_deny(steps)?;
    let step = steps.begin("licenses, bans, and sources of dependencies", None);
    process::run(Command::new(deny).current_dir(paths::workspace()).args([
        "--log-level=error",
        "--locked",
        "--all-features",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))?;
    step.done("");
    steps.summary("the check");
    Ok(())
}

/// The cargo-deny in the cache, which is built once per version.
fn cargo_deny(steps: &Steps) -> Result<PathBuf> {
    let root = paths::cache()?.join("tools").join(format!("cargo-deny-{CARGO_DENY_VERSION}"));
    let binary = root.join("bin/cargo-deny");
    if !binary.exists() {
        let step = steps.begin("building cargo-deny", Some(Duration::from_mins(4)));
        let root = root.to_str().context("the path of the cache is not UTF-8")?;
        let version = format!("cargo-deny@{CARGO_DENY_VERSION}");
        process::run(&mut cargo(&["install", "--quiet", "--locked", "--root", root, &version]))?;
        step.done("");
    }
    Ok(binary)
}
