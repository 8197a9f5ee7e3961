//! The commands that need a Kubernetes client, TLS or the operator's own code: each is a program of a heavier package,
//! which is built at the first use and takes the place of this one.

use std::{
    convert::Infallible,
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    process::Command,
};

use anyhow::{Context, Error, Result};
use xtask::process::{cargo, run};

/// A program of another package, by the name of both.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program(&'static str);

const TESTBED: Program = Program("testbed");
const E2E: Program = Program("e2e");

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
    ("bench", "Measures what the operator costs, or another controller that serves the same API", E2E),
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
        // All together: then cargo selects the same features for what they share, and builds that once.
        run(&mut cargo(&["build", "--quiet", "--bins", "--package=testbed", "--package=e2e"]))?;
        let own = env::current_exe().context("failed to find this program's own file")?;
        // Cargo puts them beside this one.
        let path = own.with_file_name(self.0);
        let error = Command::new(&path).args(arguments).exec();
        Err(error).with_context(|| format!("failed to start {}", path.display()))
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
