//! What is measured: our programs as processes with the chart's rights, or another controller that serves the same API.

use std::{path::Path, str::FromStr, time::Duration};

use anyhow::{Context, Result, bail};
use e2e::{
    cert_manager,
    operator::{self, Processes},
};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use testbed::cluster::{Bound, Cluster, Process, pid_inside};
use tokio::time::{Instant, sleep};

/// How long a controller may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// Which controller is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Controller {
    /// The one of this checkout, built for release.
    #[default]
    Ours,
    /// cert-manager, in the version of `e2e/testbed/tools/certmanager/go.mod`.
    CertManager,
    /// A process in the cluster, by its id on the host, that somebody else started.
    External(u32),
    /// A command that is run in the cluster, and ended: program and arguments, without quoting.
    Command(String),
}

impl FromStr for Controller {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "ours" => Ok(Self::Ours),
            None if text == "cert-manager" => Ok(Self::CertManager),
            Some(("external", pid)) => {
                pid.parse().map(Self::External).map_err(|_| format!("{pid:?} is no process id"))
            }
            Some(("command", command)) if !command.trim().is_empty() => Ok(Self::Command(command.to_owned())),
            _ => Err("use `ours`, `cert-manager`, `external:PID` or `command:PROGRAM ARGUMENTS`".to_owned()),
        }
    }
}

/// A process that is accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// `operator` or `solver`.
    pub(crate) name: &'static str,
    /// On the host.
    pub(crate) pid: u32,
}

/// The name of the controller's program in figures.
pub(crate) const OPERATOR: &str = "operator";
const SOLVER: &str = "solver";

/// The name of a controller in the cluster that is run as a command.
const COMMAND: &str = "controller";

/// A controller in a cluster.
#[derive(Debug)]
pub(crate) struct ControllerUnderTest<'a> {
    cluster: &'a Cluster,
    client: String,
    run: Run,
}

#[derive(Debug)]
enum Run {
    Ours(Box<Processes>),
    External(u32),
    Command { process: Process, running: Option<Bound> },
}

impl<'a> ControllerUnderTest<'a> {
    /// Prepares a controller to be started. `client` is its name to the API server, if it is not ours.
    pub(crate) async fn prepare(
        cluster: &'a Cluster,
        controller: &Controller,
        client: Option<&str>,
        binaries: &Path,
    ) -> Result<Self> {
        let run = match controller {
            Controller::Ours => Run::Ours(Box::new(Processes::prepare(cluster, binaries, &[]).await?)),
            Controller::External(pid) => Run::External(*pid),
            Controller::CertManager => {
                cert_manager::install_definitions(cluster).await?;
                Run::Command { process: cert_manager::prepare(cluster).await?, running: None }
            }
            Controller::Command(command) => {
                let mut words = command.split_whitespace();
                let program = words.next().context("a command has a program")?;
                Run::Command { process: Process::new(COMMAND, program, words), running: None }
            }
        };
        let client = match (controller, client) {
            (_, Some(client)) => client,
            (Controller::Ours, None) => operator::USER,
            (Controller::CertManager, None) => cert_manager::USER,
            _ => bail!("tell with --client by which user name the controller is known to the API server"),
        };
        Ok(Self { cluster, client: client.to_owned(), run })
    }

    /// Its name to the API server.
    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    /// Starts it, unless somebody else did; does not wait.
    pub(crate) async fn start(&mut self) -> Result<()> {
        match &mut self.run {
            Run::Ours(processes) => processes.start_operator(self.cluster, &[]).await,
            Run::External(_) => Ok(()),
            Run::Command { process, running } => {
                *running = Some(self.cluster.start_bound(process.clone())?);
                Ok(())
            }
        }
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// It is somebody else's, or does not end.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let pid = match &self.run {
            Run::Ours(processes) => processes.operator_pid(),
            Run::External(_) => bail!(
                "this workload starts and ends the controller, which it can't do with `external:PID`: \
                 use `--controller 'command:PROGRAM ARGUMENTS'`"
            ),
            Run::Command { running, .. } => running.as_ref().map(Bound::pid),
        };
        end(pid.context("it does not run")?, Signal::SIGTERM).await
    }

    /// What is accounted for.
    pub(crate) fn programs(&self) -> Vec<Program> {
        let (operator, solver) = match &self.run {
            Run::Ours(processes) => (processes.operator_pid(), processes.solver_pid()),
            Run::External(pid) => (Some(*pid), None),
            Run::Command { running, .. } => (running.as_ref().map(Bound::pid), None),
        };
        let runs = |pid: &u32| Path::new(&format!("/proc/{pid}/exe")).exists();
        [(OPERATOR, operator), (SOLVER, solver)]
            .into_iter()
            .filter_map(|(name, pid)| Some(Program { name, pid: pid.filter(runs)? }))
            .collect()
    }

    /// Whether somebody else has started it, so that it may have done already what there is to do.
    pub(crate) fn is_external(&self) -> bool {
        matches!(self.run, Run::External(_))
    }

    /// Whether the controller runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.programs().iter().any(|program| program.name == OPERATOR)
    }

    /// The controller's last words, for errors.
    pub(crate) fn log(&self) -> String {
        let name = match &self.run {
            Run::Ours(_) => operator::NAME,
            Run::External(_) => return "its log is where it was started".to_owned(),
            Run::Command { process, .. } => &process.name,
        };
        format!("its log ends with\n{}", self.cluster.log_tail(name, 20))
    }

    /// The id of the controller's process as it is seen in the cluster.
    pub(crate) fn programs_inside(&self) -> Vec<u32> {
        let inside = |program: &Program| pid_inside(program.pid);
        self.programs().iter().filter(|program| program.name == OPERATOR).filter_map(inside).collect()
    }

    /// Our programs, for what only they can be asked to do.
    pub(crate) fn ours(&mut self) -> Result<&mut Processes> {
        match &mut self.run {
            Run::Ours(processes) => Ok(processes),
            _ => bail!("this workload needs two replicas, which it can only start of our own controller"),
        }
    }
}

/// Sends a signal, and waits until the process is gone.
pub(crate) async fn end(pid: u32, signal: Signal) -> Result<()> {
    signal::kill(Pid::from_raw(pid.try_into()?), signal)?;
    let deadline = Instant::now() + END_TIMEOUT;
    // A process that nobody has waited for yet has no program any more.
    while Path::new(&format!("/proc/{pid}/exe")).exists() {
        if Instant::now() > deadline {
            bail!("the process {pid} did not end within {} s of {signal}", END_TIMEOUT.as_secs());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_named_in_four_ways() {
        assert_eq!("ours".parse(), Ok(Controller::Ours));
        assert_eq!("cert-manager".parse(), Ok(Controller::CertManager));
        assert_eq!("external:42".parse(), Ok(Controller::External(42)));
        let command = Controller::Command("/bin/controller --v=2".to_owned());
        assert_eq!("command:/bin/controller --v=2".parse(), Ok(command));
        for wrong in ["", "theirs", "external:", "external:me", "command: "] {
            assert!(wrong.parse::<Controller>().is_err(), "{wrong}");
        }
    }
}
