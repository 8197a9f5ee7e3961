//! The supervisor inside the cluster: starts and watches programs for its clients, and relays SOCKS connections from
//! the host into the cluster's network. Must not know what the programs are. Next: `control.rs` for the requests.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::AsFd,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use fast_socks5::server::{DnsResolveHelper, Socks5ServerProtocol, run_tcp_proxy};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    process::{Child, Command},
    sync::Notify,
    time,
};

use crate::{
    cluster::{
        control::{Answer, Finished, Process, ProcessStatus, Request},
        layout::{FIRST_FREE_PORT, Layout},
    },
    tools::host::SYSTEM_PATH,
};

/// How long a cluster waits for its first lease, and for another one after its last.
const GRACE: Duration = Duration::from_secs(3);

/// How long a SOCKS client may take to name its target, and how long the connection to that may take.
const SOCKS_TIMEOUT: Duration = Duration::from_secs(10);

/// How many bytes of a program's output are kept.
const OUTPUT_LIMIT: usize = 1 << 20;

#[derive(Debug, Default)]
struct Supervisor {
    processes: Mutex<BTreeMap<String, ProcessStatus>>,
    leases: AtomicUsize,
    keep: AtomicBool,
    ports: AtomicU16,
    lease_changed: Notify,
    stop: Notify,
}

#[tokio::main(flavor = "current_thread")]
pub(super) async fn run() -> Result<()> {
    // Standard input is the listener, which was created in the host's network.
    let listener = std::net::TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let socks = TcpListener::from_std(listener).context("failed to use standard input as a listener")?;
    let control = UnixListener::bind(Layout::inside().control_socket())
        .context("failed to listen on the control socket")?;
    let supervisor = Arc::new(Supervisor::default());
    loop {
        tokio::select! {
            accepted = control.accept() => {
                let (stream, _) = accepted.context("failed to accept on the control socket")?;
                let supervisor = Arc::clone(&supervisor);
                supervisor.leases.fetch_add(1, Ordering::SeqCst);
                supervisor.lease_changed.notify_one();
                tokio::spawn(async move {
                    if let Err(error) = supervisor.converse(stream).await {
                        eprintln!("a control connection failed: {error:#}");
                    }
                    supervisor.leases.fetch_sub(1, Ordering::SeqCst);
                    supervisor.lease_changed.notify_one();
                });
            }
            accepted = socks.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(async move {
                        // The client sees the error, such as a name that doesn't resolve.
                        _ = relay(stream).await;
                    });
                }
                Err(error) => eprintln!("failed to accept a SOCKS connection: {error}"),
            },
            () = supervisor.stop.notified() => return Ok(()),
            () = supervisor.abandoned() => {
                eprintln!("no client is connected, and none asked to keep the cluster");
                return Ok(());
            }
        }
    }
}

async fn relay(stream: TcpStream) -> Result<()> {
    let negotiation = async {
        Socks5ServerProtocol::accept_no_auth(stream).await?.read_command().await?.resolve_dns().await
    };
    let (protocol, _command, target) = time::timeout(SOCKS_TIMEOUT, negotiation).await??;
    run_tcp_proxy(protocol, &target, SOCKS_TIMEOUT, true).await?;
    Ok(())
}

impl Supervisor {
    /// Returns when there has been no lease for [`GRACE`], unless a client asked to keep the cluster.
    async fn abandoned(&self) {
        loop {
            let free = self.leases.load(Ordering::SeqCst) == 0 && !self.keep.load(Ordering::SeqCst);
            if !free {
                self.lease_changed.notified().await;
            } else if time::timeout(GRACE, self.lease_changed.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Answers requests until the connection closes.
    async fn converse(self: &Arc<Self>, mut stream: UnixStream) -> Result<()> {
        let (read, mut write) = stream.split();
        let mut lines = BufReader::new(read).lines();
        // Killed when the connection closes.
        let mut bound: Vec<Child> = Vec::new();
        while let Some(line) = lines.next_line().await? {
            let answer = match serde_json::from_str(&line)? {
                Request::Keep => {
                    self.keep.store(true, Ordering::SeqCst);
                    to_line(&Answer::Ok(()))?
                }
                Request::ReservePort => {
                    to_line(&Answer::Ok(FIRST_FREE_PORT + self.ports.fetch_add(1, Ordering::SeqCst)))?
                }
                Request::Run(process) => {
                    tokio::select! {
                        finished = run_to_end(&process) => to_line(&finished.map_err(|error| error.to_string()))?,
                        // The client is gone: dropping the future kills the program.
                        _ = lines.next_line() => break,
                    }
                }
                Request::Start(process) => {
                    to_line(&start(&process).map(|child| self.watch(&process.name, child)))?
                }
                Request::StartBound(process) => to_line(&start(&process).map(|child| {
                    let pid = child.id();
                    bound.push(child);
                    pid
                }))?,
                Request::Status => to_line(&Answer::Ok(self.processes().values().collect::<Vec<_>>()))?,
                Request::Stop => {
                    write.write_all(&to_line(&Answer::Ok(()))?).await?;
                    self.stop.notify_one();
                    return Ok(());
                }
            };
            write.write_all(&answer).await?;
        }
        for child in &mut bound {
            _ = child.kill().await;
        }
        Ok(())
    }

    /// Records the status of a program while it runs and after it has ended.
    fn watch(self: &Arc<Self>, name: &str, mut child: Child) -> u32 {
        let pid = child.id().unwrap_or_default();
        let status = ProcessStatus { name: name.to_owned(), pid, ended: None };
        self.processes().insert(name.to_owned(), status);
        let (supervisor, name) = (Arc::clone(self), name.to_owned());
        tokio::spawn(async move {
            let ended =
                child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
            if let Some(status) = supervisor.processes().get_mut(&name) {
                status.ended = Some(ended);
            }
        });
        pid
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<String, ProcessStatus>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a program whose output goes to its log.
fn start(process: &Process) -> Answer<Child> {
    let spawn = || -> std::io::Result<Child> {
        let log = File::options().create(true).append(true).open(Layout::inside().log(&process.name))?;
        command(process).stdout(log.try_clone()?).stderr(log).kill_on_drop(true).spawn()
    };
    spawn().map_err(|error| format!("failed to start {}: {error}", process.program.display()))
}

fn command(process: &Process) -> Command {
    let mut command = Command::new(&process.program);
    command
        .args(&process.arguments)
        .env("PATH", SYSTEM_PATH)
        .envs(&process.environment)
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

async fn run_to_end(process: &Process) -> std::io::Result<Finished> {
    let output = command(process).kill_on_drop(true).output().await?;
    let tail = |bytes: &[u8]| {
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(OUTPUT_LIMIT)..]).into_owned()
    };
    Ok(Finished { success: output.status.success(), output: tail(&output.stdout) + &tail(&output.stderr) })
}

fn to_line<T: Serialize>(answer: &Answer<T>) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line)
}
