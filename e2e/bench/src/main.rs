//! `cargo xtask bench`: the command line, and the commands that are published. Must not measure. Next: `bench::Bench`, `page.rs`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bench::{Bench, Controller, Record, Records, Source, Workload, page};
use clap::{Args, Parser, Subcommand, ValueEnum};
use e2e::cert_manager_fixture::KeyAlgorithm;
use testbed::tools::{self, Tool, Tools};
use xtask::{
    paths, process,
    progress::Steps,
    release::{Build, ImageProfile},
};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures what the operator costs, or another controller for the same API.
    #[command(subcommand)]
    Bench(Task),
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Annotates N Ingresses one after another. Measures the time until each Secret exists.
    Latency(Options),
    /// Creates N annotated Ingresses concurrently. Measures the time until all are ready.
    Burst(Options),
    /// Creates one annotated Ingress with N hosts. Measures the time until its Secret exists.
    ManyNames(Options),
    /// Starts the controller for the first time with N existing valid Certificates and their Ingresses, CertificateRequests, Orders,
    /// and Secrets, as cert-manager leaves them.
    Adopt(Options),
    /// Restarts the controller with N Certificates, none of which is due.
    Restart(Options),
    /// Starts the controller for the first time with N Certificates that are all due for renewal.
    RenewWave(Options),
    /// Observes the controller with N Certificates and nothing to do.
    Idle(Options),
    /// Issues N bursts of 50 certificates in one process, and deletes each before the next one. Measures what memory is kept.
    Soak(Options),
    /// Ends the leader N times each: it stops, it crashes and starts again, and it is lost, so that a standby takes over. Measures the
    /// time until the next Secret exists.
    Failover(Options),
    /// Annotates N Ingresses one after another, then N more beside a tenant with orders at a CA that hangs, 1,000 large keys, and 3,000
    /// orders. Measures the time until each Secret exists.
    Isolation(Options),
    /// Measures the lower bounds of this machine: key generation, API writes, orders without an operator.
    Baselines(Options),
    /// Simulates a year of N certificates on a virtual clock, with the operator's own decisions and without a cluster. For more
    /// options, run `cargo run --profile measure -p bench --bin simulation -- --help`.
    Simulation(Options),
    /// Measures everything that is published into docs/benchmarks.json, then writes the page. Takes about half an hour.
    All,
    /// Measures everything that is published about cert-manager, like `all`. Takes about half an hour and requires root.
    Compare,
    /// Writes docs/BENCHMARKS.md, its plots, and the table in README.md from docs/benchmarks.json.
    Page {
        /// Write nothing, and fail if a file is not up to date.
        #[arg(long)]
        check: bool,
    },
    /// Forwards connections with a delay.
    #[command(hide = true)]
    Relay {
        /// Address to listen on.
        #[arg(long)]
        listen: SocketAddr,
        /// Address to forward connections to.
        #[arg(long)]
        to: SocketAddr,
        /// Extra time that a request with its response takes.
        #[arg(long, value_parser = duration)]
        round_trip: Duration,
    },
}

#[derive(Args, Clone, Debug)]
struct Options {
    /// Number of certificates, hosts, or runs. The default depends on the workload.
    #[arg(short, value_name = "N")]
    number: Option<usize>,
    /// Algorithm of the private keys. The default depends on the workload.
    #[arg(long, value_enum)]
    key: Option<KeyAlgorithm>,
    /// What `latency` and `burst` annotate.
    #[arg(long, value_enum, default_value = "ingress")]
    source: Source,
    /// Extra latency of each request to the ACME server, such as 100ms.
    #[arg(long, value_parser = duration, default_value = "0s")]
    acme_latency: Duration,
    /// How long `idle` observes the controller.
    #[arg(long, value_parser = duration, default_value = "5m")]
    watch: Duration,
    /// Controller to measure: `ours`; `cert-manager` (built like the testbed's other programs; workloads that issue
    /// certificates need root, for its Pods); `external:PID` (a process in the cluster, by its PID on this host); or
    /// `command:PROGRAM ARGUMENTS` (run in the cluster, also for workloads that restart it).
    #[arg(long, default_value = "ours")]
    controller: Controller,
    /// User name by which another controller authenticates to the API server, such as
    /// system:serviceaccount:cert-manager:cert-manager.
    #[arg(long)]
    client: Option<String>,
    /// Name of a cluster of `cargo xtask cluster up`, prepared for another controller. The default is a new cluster.
    #[arg(long)]
    cluster: Option<String>,
    /// Number of runs, each in its own cluster. The run with the median first figure is kept.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// JSON file to store the figures in. They replace older ones of the same command.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: crds::duration::GoDuration = text.parse().map_err(|error| format!("{error}"))?;
    u64::try_from(parsed.as_nanos()).map(Duration::from_nanos).map_err(|_| format!("{text:?} is negative"))
}

/// The commands that are published.
const PUBLISHED: [&[&str]; 20] = [
    &["baselines"],
    &["latency"],
    &["burst", "-n", "50"],
    &["burst", "-n", "200"],
    &["burst", "-n", "1000"],
    &["burst", "-n", "50", "--key", "ecdsa"],
    &["burst", "-n", "200", "--key", "ecdsa"],
    &["burst", "-n", "1000", "--key", "ecdsa"],
    &["burst", "-n", "200", "--key", "ecdsa", "--acme-latency", "100ms"],
    &["many-names"],
    &["adopt", "-n", "1000"],
    &["adopt", "-n", "5000"],
    &["adopt", "-n", "20000"],
    &["restart", "-n", "5000"],
    &["restart", "-n", "20000"],
    &["renew-wave"],
    &["idle", "-n", "1000"],
    &["failover"],
    &["isolation"],
    &["simulation"],
];

/// The commands that are also published for cert-manager.
const COMPARED: [&[&str]; 6] = [
    &["latency"],
    &["burst", "-n", "50"],
    &["many-names"],
    &["adopt", "-n", "1000"],
    &["adopt", "-n", "5000"],
    &["idle", "-n", "1000"],
];

fn main() -> ExitCode {
    if let Some(code) = testbed::cluster::run_supervisor_role() {
        return code;
    }
    let Command::Bench(task) = Arguments::parse().command;
    match run(task, &Steps::default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(task: Task, steps: &Steps) -> Result<()> {
    match task {
        Task::Page { check } => page::write(paths::workspace(), check),
        Task::Relay { listen, to, round_trip } => bench::relay(listen, to, round_trip).await,
        Task::All => publish(&PUBLISHED, &[]),
        Task::Compare => publish(&COMPARED, &["--controller=cert-manager"]),
        Task::Latency(options) => options.measure(Workload::Latency, 20, KeyAlgorithm::Rsa, steps).await,
        Task::Burst(options) => options.measure(Workload::Burst, 50, KeyAlgorithm::Rsa, steps).await,
        Task::ManyNames(options) => options.measure(Workload::ManyNames, 100, KeyAlgorithm::Rsa, steps).await,
        Task::Adopt(options) => options.measure(Workload::Adopt, 5000, KeyAlgorithm::Ecdsa, steps).await,
        Task::Restart(options) => options.measure(Workload::Restart, 5000, KeyAlgorithm::Ecdsa, steps).await,
        Task::RenewWave(options) => {
            options.measure(Workload::RenewWave, 200, KeyAlgorithm::Ecdsa, steps).await
        }
        Task::Idle(options) => options.measure(Workload::Idle, 1000, KeyAlgorithm::Ecdsa, steps).await,
        Task::Soak(options) => options.measure(Workload::Soak, 20, KeyAlgorithm::Ecdsa, steps).await,
        Task::Failover(options) => options.measure(Workload::Failover, 3, KeyAlgorithm::Ecdsa, steps).await,
        Task::Isolation(options) => options.measure(Workload::Isolation, 20, KeyAlgorithm::Rsa, steps).await,
        Task::Baselines(options) => options.measure(Workload::Baselines, 1, KeyAlgorithm::Rsa, steps).await,
        Task::Simulation(options) => {
            options.measure(Workload::Simulation, 1_000_000, KeyAlgorithm::Rsa, steps).await
        }
    }
}

/// Measures commands, and then writes the page.
fn publish(commands: &[&[&str]], options: &[&str]) -> Result<()> {
    let json = format!("--json={}", page::RECORDS);
    let own = std::env::current_exe().context("failed to find the file of this program")?;
    for command in commands {
        let mut measuring = std::process::Command::new(&own);
        measuring.arg("bench").args(*command).args(options).arg(&json);
        process::run(measuring.current_dir(paths::workspace()))?;
    }
    page::write(paths::workspace(), false)
}

impl Options {
    async fn measure(
        &self,
        workload: Workload,
        number: usize,
        key: KeyAlgorithm,
        steps: &Steps,
    ) -> Result<()> {
        ensure!(
            !cfg!(debug_assertions),
            "this program was built without optimizations, which would distort the figures: use `cargo xtask bench`"
        );
        ensure!(
            self.source == Source::Ingress || matches!(workload, Workload::Latency | Workload::Burst),
            "only `latency` and `burst` can annotate Gateways"
        );
        let is_prepared = matches!(self.controller, Controller::Ours | Controller::CertManager);
        if !is_prepared && self.cluster.is_none() {
            bail!(
                "another controller needs a cluster with its CRDs and permissions: start one with `cargo xtask \
                 cluster up --name NAME --ingress-class traefik`, prepare it, and set --cluster to its name"
            );
        }
        let mut needed = [tools::CONTROL_PLANE, &[Tool::Helm]].concat();
        if self.controller == Controller::CertManager {
            needed.extend(tools::NODE);
            needed.extend(tools::CERT_MANAGER);
        }
        // It pins the version of the CRDs.
        needed.extend((self.source == Source::Gateway).then_some(Tool::CertManager));
        let tools = Tools::ensure(&needed, steps).await?;
        let binaries = match self.controller {
            _ if matches!(workload, Workload::Simulation | Workload::Baselines) => PathBuf::new(),
            Controller::Ours => {
                let build = Build::start(paths::workspace(), ImageProfile::Release, steps)?;
                let step =
                    steps.begin("building the operator and the solver for release", Some(build.usual_time()));
                let binaries = build.finish()?;
                step.done("");
                binaries
            }
            _ => PathBuf::new(),
        };
        let bench = Bench {
            command: self.command(workload),
            number: self.number.unwrap_or(number),
            key: self.key.unwrap_or(key),
            source: self.source,
            acme_latency: self.acme_latency,
            observed: self.watch,
            controller: self.controller.clone(),
            client: self.client.clone(),
            cluster: self.cluster.clone(),
            binaries,
            tools,
        };
        let mut measured = Vec::new();
        for _ in 0..self.runs {
            let record = bench.run(workload, steps).await?;
            println!("{}", record.table());
            measured.push(record);
        }
        let record = Record::median(measured).context("there was no run")?;
        if let Some(file) = &self.json {
            let mut records = Records::read(file)?;
            records.put(record);
            records.write(file)?;
        }
        Ok(())
    }

    /// The command line, without the file for the record.
    fn command(&self, workload: Workload) -> String {
        let mut words = vec!["cargo xtask bench".to_owned(), workload.name().to_owned()];
        let mut add = |option: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{option} {value}")));
        };
        add("-n", self.number.map(|number| number.to_string()));
        let key = self.key.and_then(|key| Some(key.to_possible_value()?.get_name().to_owned()));
        add("--key", key);
        add("--source", (self.source == Source::Gateway).then(|| "gateway".to_owned()));
        let latency = self.acme_latency;
        add("--acme-latency", (!latency.is_zero()).then(|| format!("{}ms", latency.as_millis())));
        add("--runs", (self.runs > 1).then(|| self.runs.to_string()));
        add(
            "--controller",
            match &self.controller {
                Controller::Ours => None,
                Controller::CertManager => Some("cert-manager".to_owned()),
                Controller::External(_) => Some("external:PID".to_owned()),
                Controller::Command(_) => Some("command:…".to_owned()),
            },
        );
        words.join(" ")
    }
}
