//! `cargo xtask`: the one way to build, check, test and try acme-operator. Start with `cargo xtask --help`.

mod bench;
mod check;
mod cluster;
mod crdgen;
mod demo;
mod images;
mod test;
mod tidy;

use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use e2e::{cluster::DEFAULT_NAME, paths, progress::Steps, tools::Tools};

/// Builds, checks, tests and tries acme-operator.
///
/// New here? `cargo xtask demo` starts a real Kubernetes on this machine and shows what the project does; then
/// `cargo xtask cluster kubectl get pods -A` looks around in it, and `cargo xtask cluster down` removes it. What the
/// cluster is made of is built from source at the first use (about 10 minutes) and kept in a cache of yours.
///
/// Before you commit: `cargo xtask check && cargo xtask test`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Formatting, lints, documentation, licences and the project's own rules.
    Check,
    /// Runs tests: all, or those of one level.
    ///
    /// unit needs nothing and takes seconds. pebble starts real ACME servers on loopback. apiserver starts a real
    /// API server without a node. e2e starts a whole cluster with a node, which needs root. Missing parts are built
    /// first.
    Test(test::Arguments),
    /// Builds what the bed is made of into your cache: Kubernetes, Pebble, Helm, Traefik and others.
    Tools,
    /// Writes the CustomResourceDefinitions of the chart from the types in `crds`.
    Crdgen {
        /// Write nothing; fail if what is there differs.
        #[arg(long)]
        check: bool,
        /// The folder that holds them.
        #[arg(long, default_value = crdgen::FOLDER)]
        output: PathBuf,
    },
    /// Starts, stops and looks into a Kubernetes cluster on this machine.
    #[command(subcommand)]
    Cluster(cluster::Task),
    /// Starts a cluster, and shows a page served in it through the ingress controller. Keeps the cluster.
    Demo(cluster::Choice),
    /// Measures what the operator costs, or another controller that serves the same API.
    #[command(subcommand)]
    Bench(bench::Task),
    /// Builds the container images, as OCI archives.
    Image {
        /// The folder to write them into.
        #[arg(long, default_value = "target/images")]
        output: PathBuf,
        /// The checkout to build; this one if not given.
        #[arg(long)]
        source: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    if let Some(code) = e2e::cluster::play() {
        return code;
    }
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(task: Task) -> Result<()> {
    let steps = Steps::default();
    match task {
        Task::Check => check::run(&steps),
        Task::Test(arguments) => test::run(&arguments, &steps).await,
        Task::Tools => {
            Tools::ensure(&steps).await?;
            steps.summary(&format!("the {} tools", Tools::count()));
            Ok(())
        }
        Task::Crdgen { check, output } => crdgen::run(&paths::workspace().join(output), check),
        Task::Cluster(task) => cluster::run(task, &steps).await,
        Task::Demo(choice) => demo::run(&choice, &steps).await,
        Task::Bench(task) => bench::run(task, &steps).await,
        Task::Image { output, source } => {
            let source = std::path::absolute(source.as_deref().unwrap_or(paths::workspace()))?;
            for image in images::build(&source, &output, &steps).await? {
                println!("{} {}", image.archive.display(), image.digest);
            }
            Ok(())
        }
    }
}

/// Cargo, the one that started us, in the workspace.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(paths::workspace()).stdin(Stdio::null());
    command
}

/// Runs a program whose output people should see.
fn show(command: &mut Command) -> Result<()> {
    let name = format!("{command:?}");
    let status = command.status().with_context(|| format!("failed to start {name}"))?;
    if !status.success() {
        bail!("{name} failed: {status}");
    }
    Ok(())
}
