//! `cargo xtask bench`: what a certificate operator costs, and how that grows.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bench::{Bench, Controller, Record, Records, Workload, page};
use clap::{Args, Parser, Subcommand, ValueEnum};
use e2e::cert_manager_fixture::KeyAlgorithm;
use testbed::tools::Tools;
use xtask::{paths, process, progress::Steps, release};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures what the operator costs, or another controller that serves the same API.
    #[command(subcommand)]
    Bench(Task),
}

#[derive(Debug, Subcommand)]
enum Task {
    /// One annotated Ingress after the other: how long until its Secret is there.
    Latency(Options),
    /// So many annotated Ingresses at once: how long until all are ready.
    Burst(Options),
    /// One Ingress with so many hosts.
    ManyNames(Options),
    /// First start with so many valid Certificates and Secrets that are there, as after a restore.
    Adopt(Options),
    /// Restart with so many Certificates, none of which is due.
    Restart(Options),
    /// First start with so many Certificates that are all due for renewal.
    RenewWave(Options),
    /// So many Certificates and nothing to do.
    Idle(Options),
    /// The leader is asked to end, and killed, so many times each: how long until the next Secret.
    Failover(Options),
    /// What can't be gone below on this machine: keys, API writes, orders without an operator.
    Baselines(Options),
    /// A year of so many certificates on a virtual clock: no cluster, the operator's own decisions. More can be turned with
    /// `cargo run --profile measure -p bench --bin simulation -- --help`.
    Simulation(Options),
    /// All that is published, into docs/benchmarks.json, with the page. Takes about half an hour.
    All,
    /// What is published of cert-manager, into the same. Takes about half an hour, and root.
    Compare,
    /// Writes docs/BENCHMARKS.md and its plots from docs/benchmarks.json.
    Page {
        /// Write nothing; fail if what is there differs.
        #[arg(long)]
        check: bool,
    },
    /// Carries connections, later.
    #[command(hide = true)]
    Relay {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// Where it connects to.
        #[arg(long)]
        to: SocketAddr,
        /// How much longer a request and its answer take.
        #[arg(long, value_parser = duration)]
        round_trip: Duration,
    },
}

#[derive(Args, Clone, Debug)]
struct Options {
    /// How many certificates, hosts or runs; what is published if not given.
    #[arg(short)]
    number: Option<usize>,
    /// The algorithm of the private keys.
    #[arg(long, value_enum)]
    key: Option<KeyAlgorithm>,
    /// How much longer each request to the ACME server takes, such as 100ms.
    #[arg(long, value_parser = duration, default_value = "0s")]
    acme_latency: Duration,
    /// How long `idle` watches.
    #[arg(long, value_parser = duration, default_value = "5m")]
    watch: Duration,
    /// What is measured: `ours`, `cert-manager` (built like the other programs of the cluster; what it issues needs root,
    /// for its Pods), `external:PID` (a process in the cluster, by its id on this host) or
    /// `command:PROGRAM ARGUMENTS` (run in the cluster, for workloads that start it).
    #[arg(long, default_value = "ours")]
    controller: Controller,
    /// The user name of another controller to the API server, such as system:serviceaccount:cert-manager:cert-manager.
    #[arg(long)]
    client: Option<String>,
    /// A cluster of `cargo xtask cluster up` that has what another controller needs; a fresh one if not given.
    #[arg(long)]
    cluster: Option<String>,
    /// How often it is measured, each time in a cluster of its own: the run in the middle counts.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Also write what is measured into this JSON file, in place of what it has of the same command.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: crds::duration::GoDuration = text.parse().map_err(|error| format!("{error}"))?;
    u64::try_from(parsed.as_nanos()).map(Duration::from_nanos).map_err(|_| "it is negative".to_owned())
}

/// All that is published.
const PUBLISHED: [&[&str]; 18] = [
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
    &["adopt", "-n", "5000", "--runs", "3"],
    &["adopt", "-n", "20000"],
    &["restart", "-n", "5000"],
    &["renew-wave"],
    &["idle", "-n", "1000"],
    &["failover"],
    &["simulation"],
];

/// What is published of cert-manager.
const COMPARED: [&[&str]; 6] = [
    &["latency"],
    &["burst", "-n", "50"],
    &["many-names"],
    &["adopt", "-n", "1000"],
    &["adopt", "-n", "5000", "--runs", "3"],
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
        Task::Failover(options) => options.measure(Workload::Failover, 3, KeyAlgorithm::Ecdsa, steps).await,
        Task::Baselines(options) => options.measure(Workload::Baselines, 1, KeyAlgorithm::Rsa, steps).await,
        Task::Simulation(options) => {
            options.measure(Workload::Simulation, 1_000_000, KeyAlgorithm::Rsa, steps).await
        }
    }
}

/// Measures, and writes the page anew.
fn publish(commands: &[&[&str]], options: &[&str]) -> Result<()> {
    let json = format!("--json={}", page::RECORDS);
    let own = std::env::current_exe().context("failed to find this program's own file")?;
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
            "this program was built without optimizations and would measure itself: use `cargo xtask bench`"
        );
        let brings_what_it_needs = matches!(self.controller, Controller::Ours | Controller::CertManager);
        if !brings_what_it_needs && self.cluster.is_none() {
            bail!(
                "another controller needs a cluster with its definitions and rights: start one with `cargo xtask \
                 cluster up --name NAME --ingress-class traefik`, prepare it, and name it with --cluster"
            );
        }
        let tools = Tools::ensure(steps).await?;
        if self.controller == Controller::CertManager {
            tools.ensure_cert_manager(steps).await?;
        }
        let binaries = match self.controller {
            _ if matches!(workload, Workload::Simulation | Workload::Baselines) => PathBuf::new(),
            Controller::Ours => {
                let step =
                    steps.begin("building operator and solver for release", Some(Duration::from_mins(3)));
                let binaries = release::build_binaries(paths::workspace())?;
                step.done("");
                binaries
            }
            _ => PathBuf::new(),
        };
        let bench = Bench {
            command: self.command(workload),
            number: self.number.unwrap_or(number),
            key: self.key.unwrap_or(key),
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
        let record = Record::middle(measured).context("it was not measured")?;
        if let Some(file) = &self.json {
            let mut records = Records::read(file)?;
            records.put(record);
            records.write(file)?;
        }
        Ok(())
    }

    /// What was typed, but for where the outcome goes.
    fn command(&self, workload: Workload) -> String {
        let mut words = vec!["cargo xtask bench".to_owned(), workload.name().to_owned()];
        let mut add = |option: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{option} {value}")));
        };
        add("-n", self.number.map(|number| number.to_string()));
        let key = self.key.and_then(|key| Some(key.to_possible_value()?.get_name().to_owned()));
        add("--key", key);
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
