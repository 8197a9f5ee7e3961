//! Starts Pebbles, and has the handle on one.
//! Must not know what is in their configuration. Next: `settings.rs`.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hyper::StatusCode;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use super::settings::{Place, Settings, cluster_host};
use crate::{
    cluster::{Bound, Cluster, Layout, NODE_ADDRESS, Process, TEST_DNS, challtestsrv_arguments},
    http::{self, Network, Trust},
    tools::{Tool, Tools},
};

/// The port of the directory of every cluster's own Pebble.
pub const CLUSTER_PORT: u16 = 14_000;
const CLUSTER_MANAGEMENT_PORT: u16 = 15_000;

/// The name of that Pebble's process.
pub const CLUSTER_PROCESS: &str = "pebble";

/// The port to which a Pebble on the host sends its HTTP-01 requests. Tests listen on it, at [`Pebble::address`].
pub const HOST_HTTP_PORT: u16 = 5002;

const START_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// A running Pebble.
#[derive(Debug)]
pub struct Pebble {
    host: String,
    address: IpAddr,
    port: u16,
    management_port: u16,
    network: Network,
    trust: Trust,
    life: Life,
}

/// What stops when the handle is dropped.
#[derive(Debug)]
enum Life {
    /// Nothing: the Pebble runs as long as its cluster.
    OfCluster,
    Bound(Bound),
    OnHost(#[expect(dead_code, reason = "it is only dropped")] Box<OnHost>),
}

#[derive(Debug)]
struct OnHost {
    _processes: [Child; 2],
    _files: tempfile::TempDir,
    _claim: TcpListener,
}

/// Starts the cluster's own Pebble, with [`Settings::calm`]. Doesn't wait until it is ready.
pub(crate) fn start_in_cluster(cluster: &Cluster) -> Result<()> {
    let place = Place {
        address: NODE_ADDRESS.into(),
        port: CLUSTER_PORT,
        management_port: CLUSTER_MANAGEMENT_PORT,
        http_port: 80,
        tls_port: 443,
    };
    let process = prepare(cluster, &Settings::calm(), CLUSTER_PROCESS, &place)?;
    cluster.start(process).map(drop)
}

impl Pebble {
    /// Returns a handle on the cluster's own Pebble.
    pub fn of_cluster(cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            host: cluster_host(),
            address: NODE_ADDRESS.into(),
            port: CLUSTER_PORT,
            management_port: CLUSTER_MANAGEMENT_PORT,
            network: cluster.network(),
            trust: Trust::Roots(fs::read_to_string(ca_path(cluster.layout(), CLUSTER_PROCESS))?),
            life: Life::OfCluster,
        })
    }

    /// Starts a new Pebble in a cluster. It validates through the cluster's ingress.
    pub async fn in_cluster(cluster: &Cluster, settings: &Settings) -> Result<Self> {
        let place = Place {
            address: NODE_ADDRESS.into(),
            port: cluster.reserve_port()?,
            management_port: cluster.reserve_port()?,
            http_port: 80,
            tls_port: 443,
        };
        let name = format!("pebble-{}", place.port);
        let process = prepare(cluster, settings, &name, &place)?;
        let pebble = Self {
            host: cluster_host(),
            address: place.address,
            port: place.port,
            management_port: place.management_port,
            network: cluster.network(),
            trust: Trust::Roots(fs::read_to_string(ca_path(cluster.layout(), &name))?),
            life: Life::Bound(cluster.start_bound(process)?),
        };
        pebble.wait(&cluster.layout().log(&name)).await?;
        Ok(pebble)
    }

    /// Starts a new Pebble on the host. It validates every name at [`Pebble::address`], on port [`HOST_HTTP_PORT`].
    pub async fn on_host(tools: &Tools, settings: &Settings) -> Result<Self> {
        let (address, claim) = claim_address()?;
        let place = Place {
            address: address.into(),
            port: CLUSTER_PORT,
            management_port: CLUSTER_MANAGEMENT_PORT,
            http_port: HOST_HTTP_PORT,
            tls_port: 5001,
        };
        let files = tempfile::tempdir().context("failed to create a folder for Pebble's files")?;
        let dns = format!("{address}:8053");
        let management = format!("{address}:8055");
        let ca = settings.write(files.path(), files.path(), "pebble", &place)?;
        let log = files.path().join("pebble.log");
        let challtestsrv = spawn(
            &tools.path(Tool::Challtestsrv),
            &challtestsrv_arguments(&dns, &management, address.into()),
            &[],
            &files.path().join("challtestsrv.log"),
        )?;
        let pebble = spawn(
            &tools.path(settings.program()),
            &settings.arguments(files.path(), "pebble", &dns),
            &settings.environment(),
            &log,
        )?;
        let pebble = Self {
            host: address.to_string(),
            address: place.address,
            port: place.port,
            management_port: place.management_port,
            network: Network::Host,
            trust: Trust::Roots(ca),
            life: Life::OnHost(Box::new(OnHost {
                _processes: [pebble, challtestsrv],
                _files: files,
                _claim: claim,
            })),
        };
        pebble.wait(&log).await?;
        Ok(pebble)
    }

    /// Stops a Pebble of a test: from now on it accepts connections and never responds, as a CA that hangs.
    pub fn hang(&self) -> Result<()> {
        let Life::Bound(process) = &self.life else { bail!("other tests use this Pebble") };
        let pid = Pid::from_raw(process.pid().try_into()?);
        signal::kill(pid, Signal::SIGSTOP).context("failed to stop Pebble")
    }

    /// The URL of the directory; see RFC 8555 section 7.1.1.
    pub fn directory_url(&self) -> String {
        format!("https://{}:{}/dir", self.host, self.port)
    }

    /// The address on which it listens.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The network from which it can be reached.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The CA of its HTTPS certificate, which clients must trust. Not the root of the certificates that it issues.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The root of the certificates that it issues: of the default chain (0) or of an alternate one. It is new at each
    /// start.
    pub async fn issuing_root(&self, chain: usize) -> Result<Trust> {
        let url = format!("https://{}:{}/roots/{chain}", self.host, self.management_port);
        let answer = http::get(&self.network, &url, &self.trust).await?;
        if answer.status() != StatusCode::OK {
            bail!("failed to fetch root {chain} of Pebble: {}", answer.status());
        }
        Ok(Trust::Roots(String::from_utf8(answer.into_body().to_vec())?))
    }

    async fn wait(&self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while let Err(error) = http::get(&self.network, &self.directory_url(), &self.trust).await {
            if Instant::now() > deadline {
                let log = fs::read_to_string(log).unwrap_or_default();
                bail!("failed to start Pebble: {error:#}; its log is\n{log}");
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// Writes the files of a Pebble in a cluster, and returns the process to start.
fn prepare(cluster: &Cluster, settings: &Settings, name: &str, place: &Place) -> Result<Process> {
    let inside = Layout::inside().path("pebble");
    let ca = settings.write(&cluster.layout().path("pebble"), &inside, name, place)?;
    fs::write(ca_path(cluster.layout(), name), ca)?;
    let program = Tools::seen_at(Layout::cache_inside()).path(settings.program());
    let mut process = Process::new(name, program, settings.arguments(&inside, name, TEST_DNS));
    for (variable, value) in settings.environment() {
        process = process.env(variable, value);
    }
    Ok(process)
}

fn ca_path(layout: &Layout, name: &str) -> std::path::PathBuf {
    layout.path(&format!("pebble/{name}-ca.crt"))
}

/// A loopback address that no other Pebble gets until the listener is dropped. All of 127.0.0.0/8 is this host.
fn claim_address() -> Result<(Ipv4Addr, TcpListener)> {
    const CLAIM_PORT: u16 = 5999;
    const TRIES: u32 = 1000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..TRIES {
        // Each process starts with another number, so collisions are rare. If there is one, only one bind succeeds.
        let number = std::process::id().wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let [_, high, middle, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, 64 + high % 64, middle, low.clamp(1, 254));
        if let Ok(listener) = TcpListener::bind((address, CLAIM_PORT)) {
            return Ok((address, listener));
        }
    }
    bail!("failed to find a free loopback address in {TRIES} tries: stop other test runs")
}

/// Starts a program that dies with this thread, so that a killed test leaves no process behind.
fn spawn(program: &Path, arguments: &[String], environment: &[(&str, String)], log: &Path) -> Result<Child> {
    let log = fs::File::create(log)?;
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))
}
