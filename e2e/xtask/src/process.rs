//! Runs cargo, and other programs whose output goes to the terminal.
//! Knows nothing about what they are run for. Next: `release.rs`, which runs cargo in the background.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths;

/// The cargo that started this program, with arguments and in the workspace's folder.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(paths::workspace()).stdin(Stdio::null());
    command
}

/// Runs a program until it exits. Its output goes to the terminal.
///
/// # Errors
/// The program could not be started, or its exit code was not 0.
pub fn run(command: &mut Command) -> Result<()> {
    let name = format!("{command:?}");
    let status = command.status().with_context(|| format!("failed to start {name}"))?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}

/// What a program printed: standard output, then standard error.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
