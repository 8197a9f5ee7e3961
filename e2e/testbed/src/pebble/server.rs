//! Starts Pebbles, and is a handle on one.

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

/// Port of the directory of the Pebble that every cluster has.
pub const CLUSTER_PORT: u16 = 14_000;
const CLUSTER_MANAGEMENT_PORT: u16 = 15_000;

/// Name of that Pebble's process.
pub const CLUSTER_PROCESS: &str = "pebble";

/// Where Pebble asks for a token on the host: a test listens there, on [`Pebble::address`].
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
    _life: Life,
}

/// What ends with the handle.
#[expect(dead_code, reason = "it is kept for its drop")]
#[derive(Debug)]
enum Life {
    /// Nothing: it lives with its cluster.
    OfCluster,
    Bound(Bound),
    OnHost(Box<OnHost>),
}

#[derive(Debug)]
struct OnHost {
    _processes: [Child; 2],
    _files: tempfile::TempDir,
    _claim: TcpListener,
}

/// Starts the Pebble that every cluster has, calm and strict; does not wait for it.
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
    /// The Pebble that every cluster has.
    pub fn of_cluster(cluster: &Cluster) -> Result<Self> {
        Ok(Self {
            host: cluster_host(),
            address: NODE_ADDRESS.into(),
            port: CLUSTER_PORT,
            management_port: CLUSTER_MANAGEMENT_PORT,
            network: cluster.network(),
            trust: Trust::Roots(fs::read_to_string(ca_path(cluster.layout(), CLUSTER_PROCESS))?),
            _life: Life::OfCluster,
        })
    }

    /// A fresh one in a cluster, which validates through the cluster's ingress.
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
            _life: Life::Bound(cluster.start_bound(process)?),
        };
        pebble.wait(&cluster.layout().log(&name)).await?;
        Ok(pebble)
    }

    /// A fresh one on the host. It asks for tokens at [`Pebble::address`], port [`HOST_HTTP_PORT`], whatever the name.
    pub async fn on_host(tools: &Tools, settings: &Settings) -> Result<Self> {
        let (address, claim) = claim_address()?;
        let place = Place {
            address: address.into(),
            port: CLUSTER_PORT,
            management_port: CLUSTER_MANAGEMENT_PORT,
            http_port: HOST_HTTP_PORT,
            tls_port: 5001,
        };
        let files = tempfile::tempdir().context("failed to make a folder for Pebble's files")?;
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
            _life: Life::OnHost(Box::new(OnHost {
                _processes: [pebble, challtestsrv],
                _files: files,
                _claim: claim,
            })),
        };
        pebble.wait(&log).await?;
        Ok(pebble)
    }

    /// The URL of its directory, RFC 8555 section 7.1.1.
    pub fn directory_url(&self) -> String {
        format!("https://{}:{}/dir", self.host, self.port)
    }

    /// Where it listens.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// From where it can be reached.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What to trust to talk to it: the CA of its HTTPS, not of what it issues.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What it issues under: the root of its default chain (0) or of an alternate one, PEM. New at every start.
    pub async fn issuing_root(&self, chain: usize) -> Result<Trust> {
        let url = format!("https://{}:{}/roots/{chain}", self.host, self.management_port);
        let answer = http::get(&self.network, &url, &self.trust).await?;
        if answer.status() != StatusCode::OK {
            bail!("Pebble has no root {chain}: {}", answer.status());
        }
        Ok(Trust::Roots(String::from_utf8(answer.into_body().to_vec())?))
    }

    async fn wait(&self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while let Err(error) = http::get(&self.network, &self.directory_url(), &self.trust).await {
            if Instant::now() > deadline {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("Pebble did not start: {error:#}; it said\n{said}");
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// Writes the files of a Pebble in a cluster, and returns its process.
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

/// A loopback address that no other Pebble has, as long as the listener lives. All of 127.0.0.0/8 is this host.
fn claim_address() -> Result<(Ipv4Addr, TcpListener)> {
    const CLAIM_PORT: u16 = 5999;
    const TRIES: u32 = 1000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..TRIES {
        // Processes start apart, so they seldom meet; where they do, the bind decides.
        let number = std::process::id().wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let [_, high, middle, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, 64 + high % 64, middle, low.clamp(1, 254));
        if let Ok(listener) = TcpListener::bind((address, CLAIM_PORT)) {
            return Ok((address, listener));
        }
    }
    bail!("{TRIES} loopback addresses are taken: end the test runs that hold them")
}

/// Starts a program that dies with this thread, so that a killed test leaves none behind.
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
