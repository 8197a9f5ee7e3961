//! A year of certificates on a virtual clock, with all that can be changed about it: see `--help`.

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
    for what in &report.broken {
        eprintln!("broken: {what}");
    }
    Ok(if report.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
