//! Leader election between real processes and a real API server, behind proxies that fail like networks do.
//!
//! Knows processes, the Lease, and connections; must not know how the operator keeps its Lease. Next: `operator/src/leadership.rs`.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{harness, operator::VERBOSE};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, config::Kubeconfig};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use testbed::cluster::{API_PORT, Cluster, NODE_ADDRESS};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    process::{Child, Command},
    sync::watch,
    time::{Instant, sleep, timeout},
};

const LEASE: &str = "cert-manager-controller";

/// How often the Lease is read.
const POLL: Duration = Duration::from_millis(20);

/// Durations that make a test short, with a margin for a slow machine.
const SHORT: [&str; 3] = [
    "--leader-election-lease-duration=6s",
    "--leader-election-renew-deadline=3s",
    "--leader-election-retry-period=500ms",
];

fn shared_cluster() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    harness::start_once(&SHARED, async || {
        let cluster = harness::start_control_plane("leadership").await?;
        harness::install_definitions(&cluster).await?;
        Ok(cluster)
    })
}

/// What happens to the connections of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// They work.
    Up,
    /// They stay open, and nothing arrives any more, as if the network were gone.
    HalfOpen,
    /// They are closed.
    Down,
}

/// A TCP proxy in front of the API server.
struct Proxy {
    port: u16,
    link: watch::Sender<Link>,
    /// How many bytes clients have sent.
    sent: Arc<AtomicU64>,
}

impl Proxy {
    async fn start(cluster: &'static Cluster) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (link, state) = watch::channel(Link::Up);
        let sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut state, count) = (state.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    let server = cluster.dial(&NODE_ADDRESS.to_string(), API_PORT).await?;
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    let none = AtomicU64::new(0);
                    let state_while_up = tokio::select! {
                        _ = forward(from_client, to_server, &count) => Link::Down,
                        _ = forward(from_server, to_client, &none) => Link::Down,
                        state = state.wait_for(|it| *it != Link::Up) => state.map_or(Link::Down, |it| *it),
                    };
                    if state_while_up == Link::HalfOpen {
                        std::future::pending::<()>().await;
                    }
                    anyhow::Ok(())
                });
            }
        });
        Ok(Self { port, link, sent })
    }
}

/// Copies bytes until either end closes, and counts them before they are copied.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        count.fetch_add(length as u64, Ordering::SeqCst);
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
    }
}

/// An election in a namespace of its own.
struct Election {
    cluster: &'static Cluster,
    namespace: String,
    leases: Api<Lease>,
    files: TempDir,
    durations: &'static [&'static str],
}

impl Election {
    async fn new(namespace: &str, durations: &'static [&'static str]) -> Result<Self> {
        let cluster = shared_cluster()?;
        let client = cluster.client().await?;
        harness::create_namespace(&client, namespace).await?;
        let leases = Api::namespaced(client, namespace);
        let files = tempfile::tempdir()?;
        Ok(Self { cluster, namespace: namespace.to_owned(), leases, files, durations })
    }

    /// Starts an operator on the host, behind a proxy. `name` is also the name of its log.
    fn start(&self, name: &str, proxy: &Proxy, environment: &[(&str, &str)]) -> Result<Replica> {
        let log = self.files.path().join(format!("{name}.log"));
        let mut command = self.command(name, proxy)?;
        let process = command.envs(environment.iter().copied()).stdout(File::create(&log)?).spawn()?;
        Ok(Replica { process, log })
    }

    fn command(&self, name: &str, proxy: &Proxy) -> Result<Command> {
        let mut config = Kubeconfig::read_from(self.cluster.kubeconfig())?;
        let server = config.clusters.first_mut().and_then(|it| it.cluster.as_mut()).context("no cluster")?;
        server.server = Some(format!("https://localhost:{}", proxy.port));
        server.proxy_url = None;
        let kubeconfig = self.files.path().join(format!("{name}.kubeconfig"));
        fs::write(&kubeconfig, serde_json::to_string(&config)?)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_operator"));
        command
            .args(VERBOSE)
            .args(self.durations)
            .arg(format!("--leader-election-namespace={}", self.namespace))
            .args(["--metrics-listen-address=127.0.0.1:0", "--healthz-listen-address=127.0.0.1:0"])
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAME", name)
            .env("NO_COLOR", "1")
            .env_remove("POD_UID")
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        Ok(command)
    }

    async fn holder(&self) -> Result<String> {
        let lease = self.leases.get_opt(LEASE).await?;
        Ok(lease.and_then(|it| it.spec?.holder_identity).unwrap_or_default())
    }

    /// Waits until a replica holds the Lease.
    async fn await_holder(&self, name: &str, limit: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let holder = self.holder().await?;
            if holder.starts_with(name) {
                return Ok(());
            }
            ensure!(began.elapsed() < limit, "waited {limit:?} for {name} to lead, {holder:?} does");
            sleep(POLL).await;
        }
    }
}

/// An operator on the host, which is killed when this is dropped.
struct Replica {
    process: Child,
    log: PathBuf,
}

impl Replica {
    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.process.id().context("the operator has ended")?;
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
    }

    async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = timeout(limit, self.process.wait()).await;
        Ok(ended.with_context(|| format!("still running after {limit:?}:\n{}", self.log()))??)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log contains a text.
    async fn await_log(&self, text: &str, limit: Duration) -> Result<()> {
        let began = Instant::now();
        while !self.log().contains(text) {
            ensure!(began.elapsed() < limit, "waited {limit:?} for {text:?} in the log:\n{}", self.log());
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// The leader's connections fail. Whether they are closed or never answer again, it has ended before the standby leads.
async fn isolated_leader_ends_first(namespace: &str, link: Link) -> Result<()> {
    let election = Election::new(namespace, &SHORT).await?;
    let (first_proxy, second_proxy) =
        (Proxy::start(election.cluster).await?, Proxy::start(election.cluster).await?);
    let mut first = election.start("first", &first_proxy, &[])?;
    first.await_log("listed all objects", harness::TIMEOUT).await?;
    let second = election.start("second", &second_proxy, &[])?;
    // The standby has observed a renewal.
    sleep(Duration::from_secs(2)).await;
    first_proxy.link.send_replace(link);
    let began = Instant::now();
    let ended = async {
        let status = first.ended(harness::TIMEOUT).await?;
        anyhow::Ok((status, began.elapsed()))
    };
    let taken_over = async {
        election.await_holder("second", harness::TIMEOUT).await?;
        anyhow::Ok(began.elapsed())
    };
    let ((status, ended), taken_over) = tokio::try_join!(ended, taken_over)?;
    println!("{link:?}: the leader ended after {ended:.1?}, the standby led after {taken_over:.1?}");
    ensure!(status.code() == Some(1), "{status}");
    ensure!(first.log().contains("not renewed within the renew deadline"), "{}", first.log());
    ensure!(ended < taken_over, "both led from {taken_over:?} to {ended:?}");
    second.await_log("listed all objects", harness::TIMEOUT).await
}

#[tokio::test]
async fn half_open_leader_ends_first() -> Result<()> {
    isolated_leader_ends_first("half-open", Link::HalfOpen).await
}

#[tokio::test]
async fn disconnected_leader_ends_first() -> Result<()> {
    isolated_leader_ends_first("disconnected", Link::Down).await
}

/// Like a virtual machine that is paused, during which another leader took over: not one byte is sent afterwards.
#[tokio::test]
async fn paused_leader_sends_nothing_afterwards() -> Result<()> {
    let election = Election::new("paused", &SHORT).await?;
    let (first_proxy, second_proxy) =
        (Proxy::start(election.cluster).await?, Proxy::start(election.cluster).await?);
    let mut first = election.start("first", &first_proxy, &[])?;
    first.await_log("listed all objects", harness::TIMEOUT).await?;
    let _second = election.start("second", &second_proxy, &[])?;
    first.signal(Signal::SIGSTOP)?;
    election.await_holder("second", harness::TIMEOUT).await?;
    let sent = first_proxy.sent.load(Ordering::SeqCst);
    first.signal(Signal::SIGCONT)?;
    first.ended(Duration::from_secs(5)).await?;
    let more = first_proxy.sent.load(Ordering::SeqCst) - sent;
    ensure!(more == 0, "sent {more} bytes without the Lease:\n{}", first.log());
    Ok(())
}

/// A container is killed, and the kubelet starts it again in the same Pod, while a standby waits.
#[tokio::test]
async fn restarted_container_resumes_leadership() -> Result<()> {
    let election = Election::new("restarted", &[]).await?;
    let proxy = Proxy::start(election.cluster).await?;
    let uid = [("POD_UID", "8d9c42a1-0b1e-4a55-9a5e-5f1d8f6f1a11")];
    let mut first = election.start("first", &proxy, &uid)?;
    first.await_log("listed all objects", harness::TIMEOUT).await?;
    let standby = election.start("standby", &proxy, &[("POD_UID", "other")])?;
    sleep(Duration::from_secs(1)).await;
    let holder = election.holder().await?;
    ensure!(holder.starts_with("first_8d9c42a1-"), "the holder is {holder:?}");
    first.signal(Signal::SIGKILL)?;
    let killed = Instant::now();
    first.ended(Duration::from_secs(5)).await?;
    let again = election.start("first", &proxy, &uid)?;
    again.await_log("became the leader", Duration::from_secs(3)).await?;
    again.await_log("listed all objects", Duration::from_secs(3)).await?;
    println!("a crash costs {:.1?}", killed.elapsed());
    ensure!(!standby.log().contains("became the leader"), "the standby leads, too:\n{}", standby.log());
    Ok(())
}

/// The leader's node is lost, with the default durations.
#[tokio::test]
async fn lost_node_costs_at_most_20_s() -> Result<()> {
    let election = Election::new("lost-node", &[]).await?;
    let proxy = Proxy::start(election.cluster).await?;
    let mut first = election.start("first", &proxy, &[("POD_UID", "1")])?;
    first.await_log("listed all objects", harness::TIMEOUT).await?;
    let second = election.start("second", &proxy, &[("POD_UID", "2")])?;
    sleep(Duration::from_secs(3)).await;
    first.signal(Signal::SIGKILL)?;
    let killed = Instant::now();
    first.ended(Duration::from_secs(5)).await?;
    second.await_log("listed all objects", Duration::from_secs(20)).await?;
    println!("the loss of the leader's node costs {:.1?}", killed.elapsed());
    Ok(())
}

/// A leader that is asked to stop releases the Lease.
#[tokio::test]
async fn stopped_leader_releases_the_lease() -> Result<()> {
    let election = Election::new("stopped", &[]).await?;
    let proxy = Proxy::start(election.cluster).await?;
    let mut first = election.start("first", &proxy, &[])?;
    first.await_log("listed all objects", harness::TIMEOUT).await?;
    let _second = election.start("second", &proxy, &[])?;
    sleep(Duration::from_secs(2)).await;
    first.signal(Signal::SIGTERM)?;
    election.await_holder("second", Duration::from_secs(3)).await?;
    let status = first.ended(Duration::from_secs(5)).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// An operator that hangs once, in the reconcile of an Issuer, and a standby.
struct Hanging {
    election: Election,
    proxy: Proxy,
    first: Replica,
    standby: Replica,
}

impl Hanging {
    async fn start(namespace: &str, seconds: &str) -> Result<Self> {
        let election = Election::new(namespace, &SHORT).await?;
        let proxy = Proxy::start(election.cluster).await?;
        let issuer = serde_json::json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Issuer",
            "metadata": { "name": "hanging" },
            "spec": { "acme": {
                "server": "https://localhost:1/",
                "privateKeySecretRef": { "name": "account" },
            } },
        });
        election.cluster.apply_in(Some(namespace), &issuer.to_string()).await?;
        let object = hanging_in(namespace);
        let hang = [
            ("POD_UID", "1"),
            (operator::failpoint::HANG_IN, &*object),
            (operator::failpoint::HANG_SECONDS, seconds),
        ];
        let first = election.start("first", &proxy, &hang)?;
        first.await_log("became the leader", harness::TIMEOUT).await?;
        let standby = election.start("standby", &proxy, &[("POD_UID", "2")])?;
        first.await_log("the reactor hangs", harness::TIMEOUT).await?;
        Ok(Self { election, proxy, first, standby })
    }
}

fn hanging_in(namespace: &str) -> String {
    format!("Issuer.v1.cert-manager.io/hanging.{namespace}")
}

/// A reconcile that returns to the runtime late is named in the log, and the Lease is renewed meanwhile.
#[tokio::test]
async fn hang_is_logged_and_keeps_the_lease() -> Result<()> {
    let Hanging { first, standby, election: _election, proxy: _proxy } =
        Hanging::start("hangs", "12").await?;
    first.await_log("the reactor no longer hangs", harness::TIMEOUT).await?;
    let log = first.log();
    let hangs: Vec<_> = log.lines().filter(|line| line.contains("the reactor hangs")).collect();
    ensure!(hangs.len() == 2 && hangs.iter().all(|line| line.contains(&hanging_in("hangs"))), "{log}");
    ensure!(!standby.log().contains("became the leader"), "the Lease was lost:\n{}", standby.log());
    Ok(())
}

/// A reconcile that never returns to the runtime: the process ends long before the kubelet would notice, says why, and resumes.
#[tokio::test]
async fn lasting_hang_ends_the_process() -> Result<()> {
    let Hanging { election, proxy, mut first, standby } = Hanging::start("hangs-on", "3600").await?;
    let began = Instant::now();
    let status = first.ended(Duration::from_secs(30)).await?;
    println!("a process that hangs ended {:.1?} after the first report", began.elapsed());
    ensure!(status.code() == Some(1), "{status}");
    let log = first.log();
    let words = format!("hanging for 15 s in the reconcile of this object: {}", hanging_in("hangs-on"));
    ensure!(log.lines().any(|line| line.contains("the process ends") && line.contains(&words)), "{log}");
    let again = election.start("first", &proxy, &[("POD_UID", "1")])?;
    again.await_log("listed all objects", Duration::from_secs(6)).await?;
    ensure!(!standby.log().contains("became the leader"), "the standby leads, too:\n{}", standby.log());
    Ok(())
}

/// The reader of the log has stopped, so that the reactor hangs in a log line: the process ends all the same.
#[tokio::test]
async fn hanging_log_ends_the_process() -> Result<()> {
    let election = Election::new("hangs-in-log", &SHORT).await?;
    let proxy = Proxy::start(election.cluster).await?;
    // It logs more than a pipe holds. Without a Lease, because its renewal would fail, too.
    let mut command = election.command("silent", &proxy)?;
    command.arg("--leader-elect=false").env("RUST_LOG", "trace").stdout(Stdio::piped());
    let mut process = command.spawn()?;
    let began = Instant::now();
    let ended = timeout(harness::TIMEOUT, process.wait()).await;
    println!("a process whose log hangs ended after {:.1?}", began.elapsed());
    let status = ended.context("still running")??;
    ensure!(status.code() == Some(1), "{status}");
    Ok(())
}
