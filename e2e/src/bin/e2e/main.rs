//! The commands of `cargo xtask` that need a cluster, or a client of one.

mod bench;
mod cluster;
mod demo;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::tools::Tools;
use xtask::progress::Steps;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs tests: all, or those of one level.
    ///
    /// unit needs nothing and takes seconds. pebble starts real ACME servers on loopback. apiserver starts a real
    /// API server without a node. e2e starts a whole cluster with a node, which needs root. Missing parts are built
    /// first.
    Test(test::Arguments),
    /// Builds what the bed is made of into your cache: Kubernetes, Pebble, Helm, Traefik and others.
    Tools,
    /// Starts, stops and looks into a Kubernetes cluster on this machine.
    #[command(subcommand)]
    Cluster(cluster::Task),
    /// Starts a cluster, and shows a page served in it through the ingress controller. Keeps the cluster.
    Demo(cluster::Choice),
    /// Measures what the operator costs, or another controller that serves the same API.
    #[command(subcommand)]
    Bench(bench::Task),
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
        Task::Test(arguments) => test::run(&arguments, &steps).await,
        Task::Tools => {
            Tools::ensure(&steps).await?;
            steps.summary(&format!("the {} tools", Tools::count()));
            Ok(())
        }
        Task::Cluster(task) => cluster::run(task, &steps).await,
        Task::Demo(choice) => demo::run(&choice, &steps).await,
        Task::Bench(task) => bench::run(task, &steps).await,
    }
}
