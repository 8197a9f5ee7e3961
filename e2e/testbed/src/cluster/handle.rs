//! The handle on a running cluster: what programs on the host can do with it.
//! Must not know how a cluster starts. Next: `control.rs` for what the supervisor is asked.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::{io::AsyncWriteExt, net::TcpStream, process::Command};
use xtask::{image::Image, paths};

use super::{
    control::{Connection, Finished, Process, ProcessStatus, Request},
    layout::Layout,
    options::{self, IngressController, Mode},
    plan::Plan,
    registry::{
        ADMIN_KUBECONFIG, ClusterState, RECORD, Record, layout_of, remove, stale, state_of, up_command,
    },
    supervisor,
};
use crate::{
    http::Network,
    tools::{Tool, Tools},
};

/// A handle on a running cluster, which keeps it running.
#[derive(Debug)]
pub struct Cluster {
    record: Record,
    layout: Layout,
    tools: Tools,
    lease: Mutex<Connection>,
}

impl Cluster {
    /// The first handle on a cluster. `lease` keeps the cluster running.
    pub(crate) fn new(record: Record, layout: Layout, tools: Tools, lease: Connection) -> Self {
        Self { record, layout, tools, lease: Mutex::new(lease) }
    }

    /// Returns a handle on a cluster that is already running.
    ///
    /// # Errors
    /// There is no such cluster, or it is stale; the message says what to do.
    pub fn attach(name: &str) -> Result<Self> {
        let layout = layout_of(name)?;
        match state_of(name)? {
            ClusterState::Absent => {
                bail!("there is no cluster named {name:?}: start it with {}", up_command(name))
            }
            ClusterState::Stale => bail!(stale(name)),
            ClusterState::Running => {}
        }
        let record = fs::read(layout.path(RECORD))
            .with_context(|| format!("the cluster {name:?} is still starting: try again in a few seconds"))?;
        Ok(Self {
            record: serde_json::from_slice(&record)?,
            lease: Mutex::new(Connection::open(&layout.control_socket())?),
            layout,
            tools: Tools::seen_at(paths::cache()?),
        })
    }

    /// The name of the cluster.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Whether the cluster has a node.
    pub fn mode(&self) -> Mode {
        self.record.mode
    }

    /// The network of Pods, if there is a node.
    pub fn pod_network(&self) -> options::Network {
        self.record.network
    }

    /// What serves Ingresses or Gateways.
    pub fn ingress(&self) -> IngressController {
        self.record.ingress
    }

    /// Whether Gateways are served.
    pub fn serves_gateways(&self) -> bool {
        self.record.gateway_api
    }

    /// The class of the Gateways that are served. Empty if none are.
    pub fn gateway_class(&self) -> &'static str {
        self.record.ingress.gateway_class()
    }

    /// The class of the Ingresses that are served.
    pub fn ingress_class(&self) -> &str {
        &self.record.ingress_class
    }

    /// The paths of its files on the host.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The tools that it runs.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The loopback address of the SOCKS 5 relay into the cluster's network, which resolves names inside.
    pub fn relay(&self) -> SocketAddr {
        self.record.relay
    }

    /// The path of an administrator's kubeconfig, for programs on the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.path(ADMIN_KUBECONFIG)
    }

    /// An API client of an administrator. It is bound to the async runtime in which it is created.
    pub async fn client(&self) -> Result<kube::Client> {
        Ok(kube::Client::try_from(self.client_config().await?)?)
    }

    /// An API client that impersonates a user in some groups.
    pub async fn client_as(&self, user: &str, groups: &[&str]) -> Result<kube::Client> {
        let mut config = self.client_config().await?;
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.iter().map(ToString::to_string).collect());
        Ok(kube::Client::try_from(config)?)
    }

    /// An API client with a bearer token.
    pub async fn client_with_token(&self, token: &str) -> Result<kube::Client> {
        let mut config = self.client_config().await?;
        config.auth_info =
            kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
        Ok(kube::Client::try_from(config)?)
    }

    async fn client_config(&self) -> Result<kube::Config> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// Connects to a port inside. `host` is an address or a name, which the cluster's DNS resolves.
    pub async fn dial(&self, host: &str, port: u16) -> Result<TcpStream> {
        Network::Relay(self.relay()).dial(host, port).await
    }

    /// The cluster's network, for HTTP clients.
    pub fn network(&self) -> Network {
        Network::Relay(self.relay())
    }

    /// Keeps the cluster running without a handle, until [`Cluster::end`] or [`super::remove`].
    pub fn keep(&self) -> Result<()> {
        self.ask(&Request::Keep)
    }

    /// Ends the cluster, and waits until nothing is left of it.
    pub fn end(self) -> Result<()> {
        let name = self.record.name.clone();
        drop(self);
        remove(&name).map(drop)
    }

    /// Reserves a TCP port of the node, so that no other caller gets the same.
    pub fn reserve_port(&self) -> Result<u16> {
        self.ask(&Request::ReservePort)
    }

    /// Starts a program inside that runs as long as the cluster. Returns its process ID inside.
    pub fn start(&self, process: Process) -> Result<u32> {
        self.ask(&Request::Start(process))
    }

    /// Starts a program inside that runs until the returned value is dropped or this process ends.
    pub fn start_bound(&self, process: Process) -> Result<Bound> {
        let mut connection = Connection::open(&self.layout.control_socket())?;
        let pid: Option<u32> = connection.ask(&Request::StartBound(process))?;
        let pid = pid.context("the program ended immediately")?;
        Ok(Bound { pid: self.host_pid(pid)?, _connection: connection })
    }

    /// The process ID on the host, by the process ID inside.
    pub fn host_pid(&self, inside: u32) -> Result<u32> {
        supervisor::host_pid(self.layout.root(), inside)?
            .with_context(|| format!("there is no process {inside} in the cluster {:?}", self.name()))
    }

    /// Runs a program inside until it exits. Doesn't block the async runtime.
    pub async fn run(&self, process: Process) -> Result<Finished> {
        let socket = self.layout.control_socket();
        tokio::task::spawn_blocking(move || Connection::open(&socket)?.ask(&Request::Run(process))).await?
    }

    /// The programs that were started by [`Cluster::start`].
    pub fn processes(&self) -> Result<Vec<ProcessStatus>> {
        self.ask(&Request::Status)
    }

    /// The last lines of a program's log.
    pub fn log_tail(&self, process: &str, lines: usize) -> String {
        tail(&self.layout.log(process), lines)
    }

    /// A kubectl command of an administrator, to which the caller adds arguments.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.tools.path(Tool::Kubectl));
        command.arg("--kubeconfig").arg(self.kubeconfig()).kill_on_drop(true);
        // By default, kubectl keeps for hours which resources exist at an address, and clusters share addresses.
        command.env("KUBECACHEDIR", self.layout.path("kubectl-cache"));
        command
    }

    /// Applies YAML with `kubectl apply`.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.apply_in(None, manifests).await
    }

    /// Applies YAML with `kubectl apply`. Objects without a namespace go into `namespace`.
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

    /// Imports an image into the node.
    pub async fn load(&self, image: &Image) -> Result<()> {
        let archive = tempfile::Builder::new().suffix(".tar").tempfile_in(self.layout.path("images"))?;
        image.write(archive.path())?;
        self.import_named(archive.path()).await
    }

    /// Imports an image archive from the host into the node.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        // A name of its own, because several tests may import concurrently.
        let copy = tempfile::Builder::new().suffix(".tar").tempfile_in(self.layout.path("images"))?;
        tokio::fs::copy(archive, copy.path())
            .await
            .with_context(|| format!("failed to read the image archive {}", archive.display()))?;
        self.import_named(copy.path()).await
    }

    /// Imports an archive from the cluster's folder of images.
    async fn import_named(&self, archive: &Path) -> Result<()> {
        let name = archive.file_name().context("an archive has a name")?.to_string_lossy();
        self.import(&Layout::inside().text(&format!("images/{name}"))).await
    }

    /// Imports an image archive into the node, by the archive's path inside.
    pub(crate) async fn import(&self, inside: &str) -> Result<()> {
        let finished = self.run(Plan::import(inside)).await?;
        if !finished.success {
            bail!("failed to import the image {inside}: {}", finished.output.trim());
        }
        Ok(())
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, request: &Request) -> Result<T> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).ask(request)
    }
}

/// A program inside a cluster, which is killed when this is dropped.
#[derive(Debug)]
pub struct Bound {
    pid: u32,
    _connection: Connection,
}

impl Bound {
    /// The process ID on the host.
    pub fn pid(&self) -> u32 {
        self.pid
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
