//! The commands of `cargo xtask` that need a cluster, or a client of one.

mod demo;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use testbed::commands::ClusterArguments;
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
    /// Starts a cluster, and shows a page served in it through the ingress controller. Keeps the cluster.
    Demo(ClusterArguments),
}

fn main() -> ExitCode {
    if let Some(code) = testbed::cluster::run_supervisor_role() {
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
        Task::Demo(choice) => demo::run(&choice, &steps).await,
    }
}
