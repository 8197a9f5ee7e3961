//! `cargo xtask check`: what must pass before a commit. Runs the tools in order, the fast ones first, and stops at the
//! first failure. Next: `tidy.rs` for the project's own rules.

use std::{process::Command, time::Duration};

use anyhow::Result;
use xtask::{
    paths,
    process::{self, cargo},
    progress::Steps,
    tool::CARGO_DENY,
};

use crate::{crdgen, tidy};

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

    let deny = CARGO_DENY.binary(steps)?;
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
    steps.say("not checked, because it needs a download: security advisories (cargo xtask advisories)");
    steps.summary("the check");
    Ok(())
}
