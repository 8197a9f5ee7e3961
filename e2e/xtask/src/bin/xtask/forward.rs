//! The commands that need a Kubernetes client, TLS, or the operator's code. Each belongs to a program of a heavier
//! package. This program builds that one and replaces itself with it (`exec`). Knows nothing about the arguments. Next:
//! `main.rs` of `testbed`, `e2e/src/bin/e2e`, and `bench`.

use std::{
    convert::Infallible,
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Error, Result};
use xtask::{
    process::{cargo, run},
    progress::Steps,
};

/// A program of another package.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The name of the binary.
    name: &'static str,
    /// The packages to build. All programs of a profile are built together, so that cargo selects the same features for
    /// their common dependencies, and builds these once.
    packages: &'static [&'static str],
    /// The cargo profile.
    profile: Profile,
}

#[derive(Debug, PartialEq, Eq)]
enum Profile {
    Dev,
    /// Optimized, because a slow benchmark program would distort what it measures.
    Measure,
}

const TESTBED: Program = Program { name: "testbed", packages: &["testbed", "e2e"], profile: Profile::Dev };
const E2E: Program = Program { name: "e2e", packages: &["testbed", "e2e"], profile: Profile::Dev };
const BENCH: Program = Program { name: "bench", packages: &["bench"], profile: Profile::Measure };

/// The forwarded commands: the name, the text for `--help`, and the program.
const COMMANDS: [(&str, &str, Program); 5] = [
    ("test", "Runs all tests, or those of one level", E2E),
    (
        "tools",
        "Builds the parts of the testbed into the cache: Kubernetes, Pebble, Helm, Traefik, and others",
        TESTBED,
    ),
    ("cluster", "Starts, stops, and inspects Kubernetes clusters on this machine", TESTBED),
    (
        "demo",
        "Starts a cluster, and shows how an annotated Ingress gets its certificate. Keeps the cluster",
        E2E,
    ),
    ("bench", "Measures the operator, or another controller that serves the same API", BENCH),
];

/// The forwarded commands, for `--help`.
pub(crate) fn commands() -> impl Iterator<Item = clap::Command> {
    COMMANDS.iter().map(|(name, about, _)| clap::Command::new(*name).about(*about))
}

/// The program of a forwarded command.
pub(crate) fn program(command: &OsStr) -> Option<&'static Program> {
    COMMANDS.iter().find(|(name, ..)| command == *name).map(|(.., program)| program)
}

impl Program {
    /// Builds the program and replaces this process with it. Returns only if one of them fails.
    pub(crate) fn exec(&self, arguments: &[OsString]) -> Error {
        match self.try_exec(arguments) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_exec(&self, arguments: &[OsString]) -> Result<Infallible> {
        let path = self.path()?;
        let steps = Steps::default();
        // Cargo runs quietly. Later builds are short enough to need no step.
        let step = (!path.exists()).then(|| {
            let title = format!("building the program `{}` for the first time", self.name);
            steps.begin(title, Some(self.profile.usual_time()))
        });
        let mut build = cargo(&["build", "--quiet", "--bins", "--profile", self.profile.name()]);
        run(build.args(self.packages.iter().flat_map(|package| ["--package", package])))?;
        if let Some(step) = step {
            step.done("");
        }
        let error = Command::new(&path).args(arguments).exec();
        Err(error).with_context(|| format!("failed to start {}", path.display()))
    }

    /// The path of the program. The folder of its profile is next to that of this program's profile.
    fn path(&self) -> Result<PathBuf> {
        let own = env::current_exe().context("failed to find this program's own file")?;
        let profiles =
            own.ancestors().nth(2).context("this program is not in the folder of a cargo profile")?;
        Ok(profiles.join(self.profile.folder()).join(self.name))
    }
}

impl Profile {
    fn name(&self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Measure => "measure",
        }
    }

    fn folder(&self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Measure => "measure",
        }
    }

    /// How long the first build usually takes on two cores.
    fn usual_time(&self) -> Duration {
        match self {
            Self::Dev => Duration::from_mins(2),
            Self::Measure => Duration::from_mins(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_commands_are_not_forwarded() {
        assert_eq!(program(OsStr::new("cluster")), Some(&TESTBED));
        assert_eq!(program(OsStr::new("check")), None);
        assert_eq!(program(OsStr::new("--help")), None);
    }
}
