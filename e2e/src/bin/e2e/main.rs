//! The commands of `cargo xtask` that run the operator: `test` and `demo`.
//! Parses arguments only. Next: `demo.rs` and `test.rs`.

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
    /// Runs all tests, or those of one level.
    ///
    /// Unit tests need nothing and take seconds. The level pebble starts real ACME servers on loopback, apiserver a
    /// cluster without a node, and e2e a cluster with a node, which needs root. Parts that are not in the cache are
    /// built first.
    Test(test::Arguments),
    /// Starts a cluster, and shows how an annotated Ingress gets its certificate. Keeps the cluster.
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
        Task::Demo(arguments) => demo::run(&arguments, &steps).await,
    }
}
