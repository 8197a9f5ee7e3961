//! The processes around a cluster. Each has its own file, and is started by the one before:
//!
//! ```text
//! guard ──▶ unshare(1) ──▶ init (PID 1) ──▶ serve ──▶ etcd, kube-apiserver, containerd, …
//! outside: waits,           inside: mounts,   inside: answers the control
//! cleans up                 network, reaps    socket, relays SOCKS
//! ```
//!
//! The kernel cleans up: when PID 1 ends, even by SIGKILL, the kernel kills every process of the cluster. With the last
//! of them, it removes the mounts and the network with all links, rules, and sockets. Only control groups and files are
//! left: the guard removes them, or `down` if the guard was killed, too. Nothing here knows what runs in the cluster.

pub(super) mod cgroups;
mod guard;
mod init;
mod network;
mod parameters;
mod serve;

use std::{
    env,
    fs::{self, File},
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

pub(crate) use self::parameters::Parameters;
use self::parameters::{MARKER, PID_NAMESPACE};

/// The program that test programs start for the roles, because they don't define `main` themselves.
const PROGRAM: &str = "testbed";

/// Whether `main` of this program has called [`run_supervisor_role`].
static HAS_ROLES: AtomicBool = AtomicBool::new(false);

/// Runs the supervisor's role that the command line names. Returns `None` if it names none.
///
/// Programs that start clusters must call this first in `main`, because they start themselves for each role.
pub fn run_supervisor_role() -> Option<ExitCode> {
    HAS_ROLES.store(true, Ordering::Relaxed);
    let mut arguments = env::args().skip(1);
    if arguments.next()? != MARKER {
        return None;
    }
    let outcome = match (arguments.next(), arguments.next()) {
        (Some(role), Some(parameters)) => run_role(&role, &parameters),
        _ => Err(anyhow::anyhow!("{MARKER} is only for internal use")),
    };
    Some(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

fn run_role(role: &str, parameters: &str) -> Result<()> {
    let parameters: Parameters = serde_json::from_str(parameters)?;
    match role {
        "guard" => guard::run(&parameters),
        "init" => init::run(&parameters),
        "serve" => serve::run(),
        _ => bail!("there is no role {role:?}"),
    }
}

/// Starts the guard. Its standard input is the SOCKS listener, its output the locked log.
pub(crate) fn start(parameters: &Parameters, listener: TcpListener, log: &File) -> Result<Child> {
    Command::new(binary()?)
        .args(parameters.arguments("guard")?)
        .stdin(OwnedFd::from(listener))
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
        .context("failed to start the cluster's supervisor")
}

/// Kills the supervisor's processes of the cluster whose folder is `state`, and with them everything inside.
pub(super) fn kill(state: &Path) -> Result<()> {
    for (pid, process) in processes()? {
        // Empty if the process has ended meanwhile.
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        let mut arguments =
            command.split(|byte| *byte == 0).skip_while(|word| *word != MARKER.as_bytes()).skip(2);
        let parameters =
            arguments.next().and_then(|parameters| serde_json::from_slice::<Parameters>(parameters).ok());
        if parameters.is_some_and(|parameters| parameters.state == state) {
            _ = signal::kill(pid, Signal::SIGKILL);
        }
    }
    Ok(())
}

/// Whether any process of the cluster whose folder is `state` is left. When PID 1 is killed, the others die a little
/// later.
pub(super) fn has_processes(state: &Path) -> Result<bool> {
    Ok(!processes_inside(state)?.is_empty())
}

/// The process ID on the host, by the process ID inside the cluster whose folder is `state`.
pub(super) fn host_pid(state: &Path, inside: u32) -> Result<Option<u32>> {
    let mut pids = processes_inside(state)?.into_iter().filter_map(|(pid, _)| pid.as_raw().try_into().ok());
    Ok(pids.find(|pid| pid_inside(*pid) == Some(inside)))
}

/// The process ID in the process's innermost namespace, by the process ID on the host.
pub fn pid_inside(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // One ID for each namespace, the innermost last; see proc_pid_status(5).
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    ids.split_whitespace().last()?.parse().ok()
}

/// The processes in the PID namespace of the cluster whose folder is `state`.
fn processes_inside(state: &Path) -> Result<Vec<(Pid, PathBuf)>> {
    let Ok(namespace) = fs::read_to_string(state.join(PID_NAMESPACE)) else { return Ok(Vec::new()) };
    let inside = |process: &Path| {
        fs::read_link(process.join("ns/pid")).is_ok_and(|link| link.as_os_str() == namespace.as_str())
    };
    Ok(processes()?.into_iter().filter(|(_, process)| inside(process)).collect())
}

/// All processes on this machine, with their folders in /proc.
fn processes() -> Result<Vec<(Pid, PathBuf)>> {
    let entries = fs::read_dir("/proc").context("failed to list processes")?;
    Ok(entries
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let pid = folder.file_name()?.to_str()?.parse().ok()?;
            Some((Pid::from_raw(pid), folder))
        })
        .collect())
}

/// The program that has the roles: this one if its `main` has called [`run_supervisor_role`] and its file is still
/// there, otherwise the testbed's, which is in the folder of this program or in the parent of that.
fn binary() -> Result<PathBuf> {
    let own = env::current_exe().context("failed to find this program's own file")?;
    if HAS_ROLES.load(Ordering::Relaxed) && own.is_file() {
        return Ok(own);
    }
    testbed_program(&own).with_context(|| {
        format!("failed to find {PROGRAM} next to {}: run the tests with `cargo xtask test`", own.display())
    })
}

/// The testbed's program, by the path of another one that was built with it. A build that ran meanwhile (`cargo test`
/// within `cargo xtask test`) may have replaced the file of that one; then Linux reports its path with ` (deleted)`.
fn testbed_program(other: &Path) -> Option<PathBuf> {
    other.ancestors().skip(1).take(2).map(|folder| folder.join(PROGRAM)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn testbed_program_is_found_for_tests_and_for_replaced_programs() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert_eq!(testbed_program(&path("deps/e2e_issuance-0123")), None);
        fs::write(path(PROGRAM), "").unwrap();
        for other in ["deps/e2e_issuance-0123", "e2e (deleted)"] {
            assert_eq!(testbed_program(&path(other)), Some(path(PROGRAM)), "{other}");
        }
    }
}
