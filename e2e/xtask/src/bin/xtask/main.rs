//! `cargo xtask`: the only entry point to build, check, test, and try acme-operator. Start with `cargo xtask --help`.
//! Has the light commands itself; [`forward`] starts other programs for the rest.

mod check;
mod crdgen;
mod forward;
mod tidy;

use std::{env, ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use xtask::{
    paths,
    progress::Steps,
    release::{self, ImageProfile},
    supply_chain,
};

/// Builds, checks, tests, and demonstrates acme-operator.
///
/// New here? `cargo xtask demo` starts a real Kubernetes cluster on this machine and shows what the project does.
/// `cargo xtask cluster kubectl get pods -A` lists what runs in it, and `cargo xtask cluster down` removes it. The
/// first use builds Kubernetes and the other parts from source, which takes more than 10 minutes, and caches them.
///
/// Before you commit: `cargo xtask check && cargo xtask test`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

/// The commands of this program; [`forward`] has the others.
#[derive(Debug, Subcommand)]
enum Task {
    /// Checks formatting, generated files, lints, documentation, licenses, and the project's own rules.
    Check,
    /// Checks the project's own rules only.
    Tidy,
    /// Checks dependencies for known vulnerabilities. Downloads the RustSec database from github.com, and fails without it.
    Advisories,
    /// Generates the chart's CustomResourceDefinitions from the types in `crds`.
    Crdgen {
        /// Write nothing, and fail if a file is out of date.
        #[arg(long)]
        check: bool,
        /// The folder of the generated files.
        #[arg(long, default_value = crdgen::FOLDER)]
        output: PathBuf,
    },
    /// Builds the container images for release, as OCI archives, with their bills of materials and checksums.
    Image {
        /// The folder to write the archives to.
        #[arg(long, default_value = "target/images")]
        output: PathBuf,
        /// The checkout to build [default: this one].
        #[arg(long)]
        source: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[OsString]) -> Result<()> {
    // Before clap parses them, because the other program gets all its arguments, including `--help`.
    if let Some(program) = arguments.first().and_then(|name| forward::program(name)) {
        return Err(program.exec(arguments));
    }
    let matches = command().get_matches();
    let steps = Steps::default();
    match Arguments::from_arg_matches(&matches)?.command {
        Task::Check => check::run(&steps),
        Task::Tidy => tidy::run(),
        Task::Advisories => supply_chain::check_advisories(paths::workspace(), &steps),
        Task::Crdgen { check, output } => crdgen::run(&paths::workspace().join(output), check),
        Task::Image { output, source } => {
            let source = std::path::absolute(source.as_deref().unwrap_or(paths::workspace()))?;
            let images = release::build_images(&source, &output, ImageProfile::Release, &steps)?;
            let files = supply_chain::write(&output, &images, &steps)?;
            for image in images {
                println!("{} {}", image.archive.display(), image.digest);
            }
            for file in files.iter().skip(release::PACKAGES.len()) {
                println!("{}", file.display());
            }
            Ok(())
        }
    }
}

/// The command line with all commands, for `--help`.
fn command() -> clap::Command {
    Arguments::command().subcommands(forward::commands())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_valid() {
        command().debug_assert();
    }

    #[test]
    fn help_lists_every_command() {
        let help = command().render_long_help().to_string();
        for name in
            ["check", "test", "tools", "crdgen", "cluster", "demo", "bench", "image", "tidy", "advisories"]
        {
            assert!(help.contains(&format!("\n  {name}")), "{name} is not in the help:\n{help}");
        }
    }
}
