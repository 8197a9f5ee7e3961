//! `cargo xtask test`: runs each level of tests with what it needs, such as tools and a cluster.
//! Must not know single tests. Next: `harness.rs`, with which the tests start.

use std::path::Path;

use anyhow::Result;
use clap::{Args, ValueEnum};
use e2e::{harness::CLUSTER_VARIABLE, matrix, operator};
use testbed::{
    bring_up,
    cluster::{Cluster, Mode, Network, Options},
    tools::{self, Tool, Tools, host},
};
use xtask::{
    paths,
    process::{self, cargo},
    progress::Steps,
    release::{self, Built, ImageProfile},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Run only this level [default: all levels except systems].
    level: Option<Level>,
    /// Run only tests whose name contains this text.
    filter: Option<String>,
    /// Arguments for the test programs.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Decisions, builders, and parsers, with no I/O except for temporary files.
    Unit,
    /// Tests against real Pebbles on loopback.
    Pebble,
    /// Tests against a cluster without a node.
    Apiserver,
    /// Tests against a cluster with a node. Needs root.
    E2e,
    /// Tests against clusters with other networks and ingress controllers, which are built on first use: about 25 min. Needs root.
    Systems,
}

pub(crate) async fn run(arguments: &Arguments, steps: &Steps) -> Result<()> {
    let levels = match arguments.level {
        Some(level) => vec![level],
        None => vec![Level::Unit, Level::Pebble, Level::Apiserver, Level::E2e],
    };
    for level in levels {
        steps.say(format!("{} tests", level.name()));
        match level {
            Level::Unit => arguments.cargo_test(&["--workspace"], Threads::Default)?,
            Level::Pebble => {
                host::ensure(host::PEBBLE, steps).await?;
                Tools::ensure(tools::PEBBLE, steps).await?;
                arguments.cargo_test(&level.targets(), Threads::Default)?;
            }
            Level::Apiserver => {
                let needed = [&[Tool::Helm, Tool::CertManager], tools::COMPANIONS].concat();
                let cluster = start(Mode::ControlPlane, &needed, steps).await?;
                arguments.cargo_test(&level.targets(), Threads::Waiting(&cluster))?;
                cluster.end()?;
            }
            Level::E2e => {
                // Some tests run `cargo xtask tools` with this cache, some run cert-manager.
                let needed = [&tools::testbed(), tools::CERT_MANAGER, tools::POLICIES].concat();
                host::ensure(host::EGRESS, steps).await?;
                let cluster = start(Mode::Node, &needed, steps).await?;
                operator::import_images(&cluster, &build_images(steps)?, steps).await?;
                arguments.cargo_test(&level.targets(), Threads::Waiting(&cluster))?;
                cluster.end()?;
            }
            Level::Systems => {
                bring_up::prepare_host(Mode::Node, Network::Cilium, steps).await?;
                let others = [tools::ENVOY_BASED, tools::INGRESS_NGINX, tools::NETWORKS].concat();
                Tools::ensure(&[tools::testbed(), others].concat(), steps).await?;
                build_images(steps)?;
                // Each test has a cluster of its own, and reports how fast something is.
                let folder = tempfile::tempdir()?;
                let matrix = folder.path().join("matrix");
                let tested = arguments.cargo_test(&level.targets(), Threads::One(&matrix));
                if let Some(table) = matrix::table(&matrix)? {
                    println!("\n{table}");
                }
                tested?;
            }
        }
    }
    steps.summary("the test run");
    Ok(())
}

/// Builds the release images, which tests need that assert latency and memory.
fn build_images(steps: &Steps) -> Result<Vec<Built>> {
    let profile = ImageProfile::Release;
    release::build_images(paths::workspace(), &release::image_folder(profile), profile, steps)
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Pebble => "pebble",
            Self::Apiserver => "apiserver",
            Self::E2e => "e2e",
            Self::Systems => "systems",
        }
    }

    /// The test targets of a level other than unit: the files `<level>_*.rs`, which the feature of the same name
    /// enables.
    fn targets(self) -> [&'static str; 9] {
        let (features, tests) = match self {
            Self::Unit => unreachable!("unit tests are all targets, without features"),
            Self::Pebble => ("--features=testbed/pebble,operator/pebble", "--test=pebble_*"),
            Self::Apiserver => (
                "--features=e2e/apiserver,http01-solver/apiserver,operator/apiserver,sim/apiserver",
                "--test=apiserver_*",
            ),
            Self::E2e => ("--features=testbed/e2e,e2e/e2e", "--test=e2e_*"),
            Self::Systems => ("--features=e2e/systems", "--test=systems_*"),
        };
        [
            "--package=e2e",
            "--package=http01-solver",
            "--package=operator",
            "--package=sim",
            "--package=testbed",
            features,
            tests,
            "--no-fail-fast",
            "--quiet",
        ]
    }
}

impl Arguments {
    fn cargo_test(&self, selection: &[&str], threads: Threads<'_>) -> Result<()> {
        let mut command = cargo(&["test", "--locked"]);
        command.args(selection).args(&self.filter).arg("--").args(&self.rest);
        // An error prints its causes, and a backtrace would bury these. Panics are not affected.
        command.env("RUST_LIB_BACKTRACE", "0");
        let threads = match threads {
            Threads::Default => None,
            Threads::Waiting(cluster) => {
                command.env(CLUSTER_VARIABLE, cluster.name());
                Some("8")
            }
            Threads::One(matrix) => {
                command.env(matrix::MATRIX_VARIABLE, matrix);
                Some("1")
            }
        };
        if let (Some(threads), None) = (threads, std::env::var_os(THREADS_VARIABLE)) {
            command.env(THREADS_VARIABLE, threads);
        }
        process::run(&mut command)
    }
}

/// How many tests run at the same time.
#[derive(Clone, Copy)]
enum Threads<'a> {
    /// One per core.
    Default,
    /// More than there are cores, because the tests mostly wait for the cluster that they share.
    Waiting(&'a Cluster),
    /// One, whose stories are entered into the matrix in this file.
    One(&'a Path),
}

/// The environment variable of Rust's test programs for the number of concurrent tests.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// Starts a cluster for one run of one level. It ends when this process ends in any way.
async fn start(mode: Mode, extra_tools: &[Tool], steps: &Steps) -> Result<Cluster> {
    bring_up::prepare_host(mode, Network::default(), steps).await?;
    let kind = if mode == Mode::Node { "node" } else { "api" };
    let options = Options::new(format!("test-{kind}-{}", std::process::id()), mode);
    let needed = [&bring_up::tools_for(&options), extra_tools].concat();
    let tools = Tools::ensure(&needed, steps).await?;
    bring_up::start(&options, &tools, steps).await
}
