//! The commands of `cargo xtask` that only need a cluster: `tools` and `cluster`.

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
    /// Builds what the testbed is made of into your cache: Kubernetes, Pebble, Helm, Traefik and others.
    Tools,
    /// Starts, stops and inspects a Kubernetes cluster on this machine.
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
