//! The `simulation` binary: a year of certificates on a virtual clock. `--help` lists what can be changed. Next: `simulation/mod.rs`.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};
use bench::simulation::{Arguments, simulate};
use clap::Parser;
use tokio::time::Instant;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let began = Instant::now();
    let report = simulate(&arguments);
    print!("{report}");
    println!("simulated in {:.1} s", began.elapsed().as_secs_f64());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))?;
    }
    for failure in &report.failures {
        eprintln!("error: {failure}");
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
