//! `cargo xtask test`: the levels, each with the surroundings that it needs.

use anyhow::Result;
use clap::{Args, ValueEnum};
use e2e::{harness::CLUSTER_VARIABLE, operator};
use testbed::{
    bring_up,
    cluster::{Cluster, Mode, Options},
    tools::{self, Tool, Tools, host},
};
use xtask::{
    paths,
    process::{self, cargo},
    progress::Steps,
    release::{self, ImageProfile},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Only this level; all of them if not given.
    level: Option<Level>,
    /// Only tests whose name contains this.
    filter: Option<String>,
    /// What the test programs get, after `--`.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Pure decisions, builders, parsers: no I/O beyond temporary files.
    Unit,
    /// Against real Pebbles on loopback.
    Pebble,
    /// Against a real API server without a node.
    Apiserver,
    /// Against a whole cluster; needs root.
    E2e,
}

pub(crate) async fn run(arguments: &Arguments, steps: &Steps) -> Result<()> {
    let levels = match arguments.level {
        Some(level) => vec![level],
        None => Level::value_variants().to_vec(),
    };
    for level in levels {
        steps.say(format!("{} tests", level.name()));
        match level {
            Level::Unit => arguments.cargo_test(&["--workspace"], None)?,
            Level::Pebble => {
                host::ensure(host::PEBBLE, steps).await?;
                Tools::ensure(tools::PEBBLE, steps).await?;
                arguments.cargo_test(&level.targets(), None)?;
            }
            Level::Apiserver => {
                let cluster = start(Mode::ControlPlane, &[Tool::Helm], steps).await?;
                arguments.cargo_test(&level.targets(), Some(&cluster))?;
                cluster.end()?;
            }
            Level::E2e => {
                // Some tests run `cargo xtask tools` on this cache, some cert-manager.
                let needed = [tools::testbed(), tools::CERT_MANAGER.to_vec()].concat();
                let cluster = start(Mode::Node, &needed, steps).await?;
                // The tests assert latency and memory, so they run what is published.
                let profile = ImageProfile::Release;
                let folder = release::image_folder(profile);
                let images = release::build_images(paths::workspace(), &folder, profile, steps)?;
                operator::import_images(&cluster, &images, steps).await?;
                arguments.cargo_test(&level.targets(), Some(&cluster))?;
                cluster.end()?;
            }
        }
    }
    steps.summary("all of it");
    Ok(())
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Pebble => "pebble",
            Self::Apiserver => "apiserver",
            Self::E2e => "e2e",
        }
    }

    /// The test targets of a heavy level: the files `<level>_*.rs`, behind the feature of the same name.
    fn targets(self) -> [&'static str; 8] {
        let (features, tests) = match self {
            Self::Unit => unreachable!("unit tests need no feature"),
            Self::Pebble => ("--features=testbed/pebble,operator/pebble", "--test=pebble_*"),
            Self::Apiserver => {
                ("--features=e2e/apiserver,http01-solver/apiserver,operator/apiserver", "--test=apiserver_*")
            }
            Self::E2e => ("--features=testbed/e2e,e2e/e2e", "--test=e2e_*"),
        };
        [
            "--package=e2e",
            "--package=http01-solver",
            "--package=operator",
            "--package=testbed",
            features,
            tests,
            "--no-fail-fast",
            "--quiet",
        ]
    }
}

impl Arguments {
    fn cargo_test(&self, selection: &[&str], cluster: Option<&Cluster>) -> Result<()> {
        let mut command = cargo(&["test", "--locked"]);
        command.args(selection).args(&self.filter).arg("--").args(&self.rest);
        // An error says where it comes from; its backtrace would bury that. A panic's is unharmed.
        command.env("RUST_LIB_BACKTRACE", "0");
        if let Some(cluster) = cluster {
            command.env(CLUSTER_VARIABLE, cluster.name());
            // They wait for others most of the time.
            if std::env::var_os(THREADS_VARIABLE).is_none() {
                command.env(THREADS_VARIABLE, "8");
            }
        }
        process::run(&mut command)
    }
}

/// Environment variable of Rust's test programs: how many tests run at once.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// A cluster for one run of one level; it ends with this process, however that ends.
async fn start(mode: Mode, extra_tools: &[Tool], steps: &Steps) -> Result<Cluster> {
    bring_up::prepare_host(mode, steps).await?;
    let needed = [&bring_up::tools_for(mode), extra_tools].concat();
    let tools = Tools::ensure(&needed, steps).await?;
    let kind = if mode == Mode::Node { "node" } else { "api" };
    let name = format!("test-{kind}-{}", std::process::id());
    bring_up::start(&Options::new(name, mode), &tools, steps).await
}
