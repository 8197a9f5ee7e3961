//! The commands of `cargo xtask` that know nothing about the operator: `tools` and `cluster`.
//! Parses arguments only. Next: `commands.rs`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use testbed::{
    commands,
    tools::{self, Tools},
};
use xtask::progress::Steps;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds the parts of the testbed into the cache: Kubernetes, Pebble, Helm, Traefik, and others.
    Tools,
    /// Starts, stops, and inspects Kubernetes clusters on this machine.
    #[command(subcommand)]
    Cluster(commands::Task),
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
        Task::Tools => {
            let needed = tools::testbed();
            Tools::ensure(&needed, &steps).await?;
            steps.summary(&format!("the {} tools", needed.len()));
            Ok(())
        }
        Task::Cluster(task) => commands::run(task, &steps).await,
    }
}
