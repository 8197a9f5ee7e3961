//! A whole Kubernetes on this machine, in namespaces of its own, next to as many others as there is room for.
//!
//! A [`Cluster`] is a handle on one: while a handle lives in any process, or after [`Cluster::keep`], the cluster
//! lives. Inside, all clusters look the same (`layout.rs`); from the host, [`Cluster::dial`] and every kubeconfig go
//! through the supervisor's SOCKS relay on loopback. Knows nothing of the operator. Next: `bring_up.rs` for how
//! one comes up, `supervisor/` for what holds it together and cleans up after it.

mod bring_up;
mod config;
mod control;
mod layout;
mod plan;
mod supervisor;

use std::{
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use nix::unistd;
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt, net::TcpStream, process::Command};

use self::control::{Connection, Request};
pub use self::{
    bring_up::start,
    control::{Finished, Process, ProcessStatus},
    layout::*,
    supervisor::{pid_inside, play},
};
use crate::{
    ingress::TRAEFIK,
    paths,
    tools::{Tool, Tools},
};

/// The cluster that people use by hand: `cargo xtask cluster up` without a name.
pub const DEFAULT_NAME: &str = "dev";

/// How long a cluster may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a name may be: it becomes part of paths and of control groups.
const NAME_LIMIT: usize = 40;

/// The longest path of a Unix socket, `sun_path` of `unix(7)` less its final zero.
const SOCKET_PATH_LIMIT: usize = 107;

/// What a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// API, controllers, scheduler, DNS, Pebble and Traefik as plain processes; no Pods run. Needs no root.
    ControlPlane,
    /// All of that, with a node that runs Pods. Needs root.
    Node,
}

/// How Pods are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cni {
    /// The standard bridge plugin. Enforces no `NetworkPolicy`.
    #[default]
    Bridge,
}

/// What cluster to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Unique on this machine for this user; lower-case letters, digits and `-`.
    pub name: String,
    /// With a node or without.
    pub mode: Mode,
    /// How Pods are connected, on a node.
    pub cni: Cni,
    /// Loopback port of the SOCKS relay; any free one if `None`.
    pub relay_port: Option<u16>,
    /// The class of the Ingresses that Traefik serves.
    pub ingress_class: String,
}

impl Options {
    /// A cluster with any free relay port, the bridge CNI and the ingress class `traefik`.
    pub fn new(name: impl Into<String>, mode: Mode) -> Self {
        Self {
            name: name.into(),
            mode,
            cni: Cni::default(),
            relay_port: None,
            ingress_class: TRAEFIK.to_owned(),
        }
    }
}

/// What stands on disk about a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    mode: Mode,
    relay: SocketAddr,
    ingress_class: String,
}

/// Whether there is a cluster of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No trace of it.
    Absent,
    /// Files of it are there, but no process: it was killed in a way that left nobody to clean up.
    Stale,
    /// Its supervisor lives.
    Running,
}

/// A handle on a running cluster.
#[derive(Debug)]
pub struct Cluster {
    record: Record,
    layout: Layout,
    tools: Tools,
    lease: Mutex<Connection>,
}

impl Cluster {
    /// A handle on the running cluster of a name.
    ///
    /// # Errors
    /// There is none, or it is stale; the message says what to do.
    pub fn attach(name: &str) -> Result<Self> {
        let layout = layout_of(name)?;
        match standing(name)? {
            Standing::Absent => {
                bail!("no cluster named {name:?} is running: start it with {}", up_command(name))
            }
            Standing::Stale => bail!(stale(name)),
            Standing::Running => {}
        }
        let record = fs::read(layout.path(RECORD))
            .with_context(|| format!("the cluster {name:?} is still coming up: try again in a moment"))?;
        Ok(Self {
            record: serde_json::from_slice(&record)?,
            lease: Mutex::new(Connection::open(&layout.control_socket())?),
            layout,
            tools: Tools::seen_at(paths::cache()?),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// With a node or without.
    pub fn mode(&self) -> Mode {
        self.record.mode
    }

    /// The class of the Ingresses that Traefik serves.
    pub fn ingress_class(&self) -> &str {
        &self.record.ingress_class
    }

    /// Where its files are on the host.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The tools it was made of.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The SOCKS 5 relay into its network, on loopback. Names are resolved inside.
    pub fn relay(&self) -> SocketAddr {
        self.record.relay
    }

    /// A kubeconfig with all rights, for programs on the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.path(ADMIN_KUBECONFIG)
    }

    /// An API client with all rights. Bound to the async runtime that it is made in.
    pub async fn client(&self) -> Result<kube::Client> {
        Ok(kube::Client::try_from(self.client_config().await?)?)
    }

    /// An API client with the rights of a user in groups, whoever that is.
    pub async fn client_as(&self, user: &str, groups: &[&str]) -> Result<kube::Client> {
        let mut config = self.client_config().await?;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(ToString::to_string).collect());
        Ok(kube::Client::try_from(config)?)
    }

    async fn client_config(&self) -> Result<kube::Config> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// Connects to a port inside. `host` is an address, or a name that the cluster's DNS knows.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream> {
        crate::http::Network::Relay(self.relay()).dial(host, port).await
    }

    /// The network inside, for HTTP clients.
    pub fn network(&self) -> crate::http::Network {
        crate::http::Network::Relay(self.relay())
    }

    /// Keeps the cluster when no handle is left; [`Cluster::end`] or [`remove`] ends it.
    pub fn keep(&self) -> Result<()> {
        self.ask(&Request::Keep)
    }

    /// Ends the cluster and waits until nothing is left of it.
    pub fn end(self) -> Result<()> {
        let name = self.record.name.clone();
        drop(self);
        remove(&name).map(drop)
    }

    /// A TCP port of the node that no other caller is told of.
    pub fn reserve_port(&self) -> Result<u16> {
        self.ask(&Request::ReservePort)
    }

    /// Starts a program inside that lives as long as the cluster; returns its process id there.
    pub fn start(&self, process: Process) -> Result<u32> {
        self.ask(&Request::Start(process))
    }

    /// Starts a program inside that lives as long as the returned value, or as this process.
    pub fn start_bound(&self, process: Process) -> Result<Bound> {
        let mut connection = Connection::open(&self.layout.control_socket())?;
        let pid: Option<u32> = connection.ask(&Request::StartBound(process))?;
        let pid = pid.context("the program ended at once")?;
        Ok(Bound { pid: self.host_pid(pid)?, _connection: connection })
    }

    /// The process id on the host of a program inside.
    pub fn host_pid(&self, inside: u32) -> Result<u32> {
        supervisor::host_pid(self.layout.root(), inside)?
            .with_context(|| format!("no process {inside} is left in the cluster {:?}", self.name()))
    }

    /// Runs a program inside to its end, off the async runtime.
    pub async fn run(&self, process: Process) -> Result<Finished> {
        let socket = self.layout.control_socket();
        tokio::task::spawn_blocking(move || Connection::open(&socket)?.ask(&Request::Run(process))).await?
    }

    /// The programs that were started to live as long as the cluster.
    pub fn processes(&self) -> Result<Vec<ProcessStatus>> {
        self.ask(&Request::Status)
    }

    /// The last lines of a program's log.
    pub fn log_tail(&self, process: &str, lines: usize) -> String {
        tail(&self.layout.log(process), lines)
    }

    /// A kubectl with all rights, ready to get its arguments.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.tools.path(Tool::Kubectl));
        command.arg("--kubeconfig").arg(self.kubeconfig()).kill_on_drop(true);
        command
    }

    /// `kubectl apply` of YAML.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.apply_in(None, manifests).await
    }

    /// `kubectl apply` of YAML; `namespace` is where objects go that name none.
    pub async fn apply_in(&self, namespace: Option<&str>, manifests: &str) -> Result<()> {
        let mut kubectl = self.kubectl();
        kubectl.args(namespace.map(|name| format!("--namespace={name}")));
        kubectl.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]).stdin(Stdio::piped());
        let mut child = kubectl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("kubectl has an input")?;
        input.write_all(manifests.as_bytes()).await?;
        drop(input);
        succeeded("kubectl apply", &child.wait_with_output().await?)
    }

    /// Imports an image archive of the host into the node.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        // The name inside the cluster's folder is unique, as several tests may load at once.
        let copy = tempfile::Builder::new().suffix(".tar").tempfile_in(self.layout.path("images"))?;
        tokio::fs::copy(archive, copy.path())
            .await
            .with_context(|| format!("failed to read the image archive {}", archive.display()))?;
        let name =
            copy.path().file_name().context("a temporary file has a name")?.to_string_lossy().into_owned();
        self.import(&Layout::inside().text(&format!("images/{name}"))).await
    }

    async fn import(&self, inside: &str) -> Result<()> {
        let finished = self.run(plan::Plan::import(inside)).await?;
        if !finished.success {
            bail!("failed to import the image {inside}: {}", finished.output.trim());
        }
        Ok(())
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, request: &Request) -> Result<T> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).ask(request)
    }
}

/// A program inside a cluster that ends when this is dropped.
#[derive(Debug)]
pub struct Bound {
    pid: u32,
    _connection: Connection,
}

impl Bound {
    /// Its process id on the host.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

const RECORD: &str = "cluster.json";
const ADMIN_KUBECONFIG: &str = "kubeconfig.yaml";

/// Whether there is a cluster of a name.
pub fn standing(name: &str) -> Result<Standing> {
    let layout = layout_of(name)?;
    if !layout.root().exists() {
        return Ok(Standing::Absent);
    }
    let lives = File::open(layout.supervisor_log()).is_ok_and(|log| log.try_lock_shared().is_err());
    Ok(if lives { Standing::Running } else { Standing::Stale })
}

/// The names of all clusters of this user, running or stale.
pub fn names() -> Result<Vec<String>> {
    let entries = match fs::read_dir(paths::clusters()?) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Ends a cluster, whatever state it is in, and removes what is left of it. Returns what it was.
pub fn remove(name: &str) -> Result<Standing> {
    let layout = layout_of(name)?;
    let standing = standing(name)?;
    if standing == Standing::Running {
        let asked =
            Connection::open(&layout.control_socket()).and_then(|mut it| it.ask::<()>(&Request::Stop));
        if asked.is_err() {
            // Its supervisor doesn't answer: end what holds the lock.
            supervisor::kill(layout.root())?;
        }
    }
    let deadline = Instant::now() + END_TIMEOUT;
    while self::standing(name)? == Standing::Running || supervisor::is_inhabited(layout.root())? {
        if Instant::now() > deadline {
            supervisor::kill(layout.root())?;
            bail!(
                "the cluster {name:?} did not end within {} s; its supervisor was killed: run the command again",
                END_TIMEOUT.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
    // The guard has done this already, unless it was killed.
    if unistd::geteuid().is_root() {
        supervisor::cgroups::remove(name)?;
    }
    match fs::remove_dir_all(layout.root()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", layout.root().display()))
        }
        _ => Ok(standing),
    }
}

fn layout_of(name: &str) -> Result<Layout> {
    let sound = !name.is_empty()
        && name.len() <= NAME_LIMIT
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !sound {
        bail!(
            "{name:?} can't be a cluster's name: use up to {NAME_LIMIT} lower-case letters, digits and '-'"
        );
    }
    let layout = Layout::outside(paths::clusters()?.join(name));
    if layout.control_socket().as_os_str().len() > SOCKET_PATH_LIMIT {
        bail!(
            "the path {} is too long for a socket: set {} to a shorter folder",
            layout.control_socket().display(),
            paths::STATE_VARIABLE
        );
    }
    Ok(layout)
}

fn stale(name: &str) -> String {
    format!(
        "the cluster {name:?} was left behind by a run that was killed: none of its processes lives, but its files \
         are there. Remove them with {}, then run the same command again",
        command("down", name)
    )
}

fn up_command(name: &str) -> String {
    command("up", name)
}

fn command(verb: &str, name: &str) -> String {
    if name == DEFAULT_NAME {
        format!("`cargo xtask cluster {verb}`")
    } else {
        format!("`cargo xtask cluster {verb} --name {name}`")
    }
}

fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn succeeded(what: &str, output: &Output) -> Result<()> {
    if !output.status.success() {
        bail!("`{what}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Writes a file that only this user may read: kubeconfigs and keys are among them.
fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_leave_the_folder_is_refused() {
        for name in ["", "..", "a/b", "Dev", "a b", &"a".repeat(NAME_LIMIT + 1)] {
            assert!(layout_of(name).is_err(), "{name:?}");
        }
        assert!(layout_of("test-1234").is_ok());
    }

    #[test]
    fn the_way_out_names_a_command_that_works_as_it_stands() {
        assert!(stale("dev").contains("`cargo xtask cluster down`"));
        assert!(stale("other").contains("`cargo xtask cluster down --name other`"));
    }
}
