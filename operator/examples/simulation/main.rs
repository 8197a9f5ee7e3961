//! A fast simulation of the scheduler: the operator's decisions, driven by a virtual clock, for a million certificates over a
//! year, against a CA that holds it to Let's Encrypt's limits.
//!
//! ```text
//! cargo run --release -p operator --example simulation
//! ```
//!
//! Next: `run.rs` for what happens, `authority.rs` for the CA, `client.rs` for the limits that the operator keeps to.

mod authority;
mod client;
mod figures;
mod fleet;
mod polls;
mod report;
mod run;
mod scenario;
#[cfg(test)]
mod tests;
mod validity;
mod wheel;

use std::{fs, process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use clap::Parser;

use self::{report::Report, run::Simulation, scenario::Arguments};

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let report = Report::of(&Simulation::new((&arguments).into()).run());
    print!("{report}");
    println!("simulated in {:.1} s", began.elapsed().as_secs_f64());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))?;
    }
    for what in &report.broken {
        eprintln!("broken: {what}");
    }
    Ok(if report.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
