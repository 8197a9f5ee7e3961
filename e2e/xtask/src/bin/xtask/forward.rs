//! The commands that need a Kubernetes client, TLS or the operator's own code: each is a program of a heavier package,
//! which is built at the first use and takes the place of this one.

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
    /// The binary, and its package.
    name: &'static str,
    /// The packages that are built. All programs of a profile are built together: then cargo selects the same features
    /// for what they share, and builds it once.
    packages: &'static [&'static str],
    /// The cargo profile, and the name of its folder.
    profile: Profile,
}

#[derive(Debug, PartialEq, Eq)]
enum Profile {
    Dev,
    /// For the program that measures: it must not take the time of what it measures.
    Measure,
}

const TESTBED: Program = Program { name: "testbed", packages: &["testbed", "e2e"], profile: Profile::Dev };
const E2E: Program = Program { name: "e2e", packages: &["testbed", "e2e"], profile: Profile::Dev };
const BENCH: Program = Program { name: "bench", packages: &["bench"], profile: Profile::Measure };

/// Every forwarded command: its name, what it does, and the program that has it.
const COMMANDS: [(&str, &str, Program); 5] = [
    ("test", "Runs tests: all, or those of one level", E2E),
    (
        "tools",
        "Builds what the testbed is made of into your cache: Kubernetes, Pebble, Helm, Traefik and others",
        TESTBED,
    ),
    ("cluster", "Starts, stops and inspects a Kubernetes cluster on this machine", TESTBED),
    (
        "demo",
        "Starts a cluster, and shows a page served in it through the ingress controller. Keeps the cluster",
        E2E,
    ),
    ("bench", "Measures what the operator costs, or another controller that serves the same API", BENCH),
];

/// The forwarded commands, for `--help`.
pub(crate) fn commands() -> impl Iterator<Item = clap::Command> {
    COMMANDS.iter().map(|(name, about, _)| clap::Command::new(*name).about(*about))
}

/// The program that has a command.
pub(crate) fn program(command: &OsStr) -> Option<&'static Program> {
    COMMANDS.iter().find(|(name, ..)| command == *name).map(|(.., program)| program)
}

impl Program {
    /// Builds the program and becomes it. Returns only the error, if either fails.
    pub(crate) fn exec(&self, arguments: &[OsString]) -> Error {
        match self.try_exec(arguments) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_exec(&self, arguments: &[OsString]) -> Result<Infallible> {
        let path = self.path()?;
        let steps = Steps::default();
        // Cargo is quiet, and only the first build is long enough to be announced.
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

    /// Where cargo puts the program: in the folder of its profile, beside that of this program.
    fn path(&self) -> Result<PathBuf> {
        let own = env::current_exe().context("failed to find this program's own file")?;
        let profiles = own.ancestors().nth(2).context("a program is in the folder of its profile")?;
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

    /// The time of a first build on two cores.
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
    fn only_commands_of_other_programs_are_forwarded() {
        assert_eq!(program(OsStr::new("cluster")), Some(&TESTBED));
        assert_eq!(program(OsStr::new("check")), None);
        assert_eq!(program(OsStr::new("--help")), None);
    }
}
