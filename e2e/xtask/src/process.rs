//! Runs cargo, and other programs whose output goes to the terminal, and measures the memory of processes.
//! Knows nothing about what they are run for. Next: `release.rs`, which runs cargo in the background.

use std::{
    fmt::Display,
    fs,
    process::{Command, Output, Stdio},
};

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

/// The resident memory of a process, bytes. `process` is its ID, or "self".
///
/// # Errors
/// There is no such process.
pub fn resident(process: impl Display) -> Result<u64> {
    size(process, "VmRSS:")
}

/// The peak resident memory of a process, bytes.
///
/// # Errors
/// There is no such process.
pub fn peak_resident(process: impl Display) -> Result<u64> {
    size(process, "VmHWM:")
}

/// A size in proc_pid_status(5), bytes.
fn size(process: impl Display, key: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.map(|kib| kib << 10).with_context(|| format!("{path} has no {key}"))
}

/// What a program printed: standard output, then standard error.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
