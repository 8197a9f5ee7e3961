//! The processes around a cluster, each in its own file and started by the one before:
//!
//! ```text
//! guard ──▶ unshare(1) ──▶ init (PID 1) ──▶ serve ──▶ etcd, kube-apiserver, containerd, …
//! outside, waits,           inside: mounts,   answers the control socket,
//! cleans up                 network, reaps     relays SOCKS
//! ```
//!
//! The kernel does the cleaning: when PID 1 ends, by whatever signal, every process of the cluster is killed, and
//! with the last of them go its mounts and its network with all links, rules and sockets. Only control groups and
//! files are left for the guard, or for `down` if the guard was killed too.

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

/// The program that test programs start, as they have no `main` of ours.
const PROGRAM: &str = "testbed";

/// Whether the `main` of this program called [`run_supervisor_role`].
static HAS_ROLES: AtomicBool = AtomicBool::new(false);

/// Runs one of the supervisor's roles if the command line says so; `None` means that it does not.
///
/// `main` of each program that starts clusters calls this first: the program starts itself again for each role.
pub fn run_supervisor_role() -> Option<ExitCode> {
    HAS_ROLES.store(true, Ordering::Relaxed);
    let mut arguments = env::args().skip(1);
    if arguments.next()? != MARKER {
        return None;
    }
    let outcome = match (arguments.next(), arguments.next()) {
        (Some(role), Some(parameters)) => run_role(&role, &parameters),
        _ => Err(anyhow::anyhow!("{MARKER} is for the testbed's own use")),
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

/// Starts the outermost process. Its standard input is the SOCKS listener, its output the locked log.
pub(crate) fn start(parameters: &Parameters, listener: TcpListener, log: &File) -> Result<Child> {
    Command::new(binary()?)
        .args(parameters.arguments("guard")?)
        .stdin(OwnedFd::from(listener))
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
        .context("failed to start the cluster's supervisor")
}

/// Kills the supervisor's processes of the cluster whose folder is `state`: for one that does not answer.
/// Everything inside dies with them.
pub(super) fn kill(state: &Path) -> Result<()> {
    for (pid, process) in processes()? {
        // A process may end while we look: then there is nothing to do.
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

/// Whether a process of the cluster whose folder is `state` is left. When PID 1 is killed, the others die a moment
/// later.
pub(super) fn has_processes(state: &Path) -> Result<bool> {
    Ok(!processes_inside(state)?.is_empty())
}

/// The process id on the host of a process of the cluster whose folder is `state`, by its id inside.
pub(super) fn host_pid(state: &Path, inside: u32) -> Result<Option<u32>> {
    let mut pids = processes_inside(state)?.into_iter().filter_map(|(pid, _)| pid.as_raw().try_into().ok());
    Ok(pids.find(|pid| pid_inside(*pid) == Some(inside)))
}

/// The process id in its innermost namespace of a process of the host.
pub fn pid_inside(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // One id for each namespace, the innermost last: proc_pid_status(5).
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

/// All processes, with their folders in /proc.
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

/// The program that has the roles: this one if its `main` called [`run_supervisor_role`], otherwise the testbed's own, which is
/// next to a test program or one folder above it.
fn binary() -> Result<PathBuf> {
    let own = env::current_exe().context("failed to find this program's own file")?;
    if HAS_ROLES.load(Ordering::Relaxed) {
        return Ok(own);
    }
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(PROGRAM))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("no {PROGRAM} is near {}: run the tests with `cargo xtask test`", own.display())
        })
}
