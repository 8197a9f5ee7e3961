//! The controller that is measured: our programs as processes with the chart's permissions, or another controller for the same API.
//!
//! Knows how to start and end it; must not measure. Next: `session.rs`.

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

use crate::bench::Source;

/// How long a process may take to end after a signal.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A controller to measure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Controller {
    /// The operator of this checkout, built for release.
    #[default]
    Ours,
    /// cert-manager, in the version of `e2e/testbed/tools/certmanager/go.mod`.
    CertManager,
    /// A process in the cluster that the user started, by its PID on the host.
    External(u32),
    /// A command that is run in the cluster: program and arguments, separated by spaces and without quoting.
    Command(String),
}

impl FromStr for Controller {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "ours" => Ok(Self::Ours),
            None if text == "cert-manager" => Ok(Self::CertManager),
            Some(("external", pid)) => {
                pid.parse().map(Self::External).map_err(|_| format!("{pid:?} is not a process ID"))
            }
            Some(("command", command)) if !command.trim().is_empty() => Ok(Self::Command(command.to_owned())),
            _ => Err("use `ours`, `cert-manager`, `external:PID`, or `command:PROGRAM ARGUMENTS`".to_owned()),
        }
    }
}

/// A process that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The name in figures: [`OPERATOR`] or `solver`.
    pub(crate) name: &'static str,
    /// The PID on the host.
    pub(crate) pid: u32,
}

/// The name of the controller's process in figures.
pub(crate) const OPERATOR: &str = "operator";
const SOLVER: &str = "solver";

/// The name of a process in the cluster that is run as a command.
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
    /// Prepares a controller, and does not start it yet. `client` is the user name by which another controller authenticates to the API
    /// server.
    pub(crate) async fn prepare(
        cluster: &'a Cluster,
        controller: &Controller,
        client: Option<&str>,
        binaries: &Path,
        source: Source,
    ) -> Result<Self> {
        let run = match controller {
            Controller::Ours => Run::Ours(Box::new(Processes::prepare(cluster, binaries, &[]).await?)),
            Controller::External(pid) => Run::External(*pid),
            Controller::CertManager => {
                cert_manager::install_definitions(cluster).await?;
                let flags: &[_] = match source {
                    Source::Ingress => &[],
                    Source::Gateway => &["--enable-gateway-api"],
                };
                Run::Command { process: cert_manager::prepare(cluster, flags).await?, running: None }
            }
            Controller::Command(command) => {
                let mut words = command.split_whitespace();
                let program = words.next().context("the command is empty")?;
                Run::Command { process: Process::new(COMMAND, program, words), running: None }
            }
        };
        let client = match (controller, client) {
            (_, Some(client)) => client,
            (Controller::Ours, None) => operator::USER,
            (Controller::CertManager, None) => cert_manager::USER,
            _ => bail!(
                "failed to find the controller's requests in the audit log: set --client to the user name by which \
                 it authenticates to the API server"
            ),
        };
        Ok(Self { cluster, client: client.to_owned(), run })
    }

    /// The user name by which the controller authenticates to the API server.
    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    /// Starts the controller, unless it is external. Does not wait until it is ready.
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

    /// Sends SIGTERM to the controller, and waits until it has ended.
    ///
    /// # Errors
    /// The controller is external, is not running, or does not end.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let pid = match &self.run {
            Run::Ours(processes) => processes.operator_pid(),
            Run::External(_) => bail!(
                "failed to stop the controller: this workload stops and starts it, which is not possible with \
                 `external:PID`. Use `--controller 'command:PROGRAM ARGUMENTS'`"
            ),
            Run::Command { running, .. } => running.as_ref().map(Bound::pid),
        };
        end(pid.context("the controller is not running")?, Signal::SIGTERM).await
    }

    /// The processes that are running.
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

    /// Whether the user started the controller, so that it may have finished its work before the measurement.
    pub(crate) fn is_external(&self) -> bool {
        matches!(self.run, Run::External(_))
    }

    /// Whether the controller is running.
    pub(crate) fn is_alive(&self) -> bool {
        self.programs().iter().any(|program| program.name == OPERATOR)
    }

    /// The end of the controller's log, for errors.
    pub(crate) fn log(&self) -> String {
        let name = match &self.run {
            Run::Ours(_) => operator::NAME,
            Run::External(_) => return "see its log where you started it".to_owned(),
            Run::Command { process, .. } => &process.name,
        };
        format!("its log ends with\n{}", self.cluster.log_tail(name, 20))
    }

    /// The PID of the controller's process inside the cluster.
    pub(crate) fn programs_inside(&self) -> Vec<u32> {
        let inside = |program: &Program| pid_inside(program.pid);
        self.programs().iter().filter(|program| program.name == OPERATOR).filter_map(inside).collect()
    }

    /// Our programs, for workloads that only they support.
    ///
    /// # Errors
    /// Another controller is measured.
    pub(crate) fn ours(&mut self) -> Result<&mut Processes> {
        match &mut self.run {
            Run::Ours(processes) => Ok(processes),
            _ => bail!("failed to start a second replica: this workload supports only `--controller ours`"),
        }
    }
}

/// Sends a signal to a process, and waits until the process has ended.
pub(crate) async fn end(pid: u32, signal: Signal) -> Result<()> {
    signal::kill(Pid::from_raw(pid.try_into()?), signal)?;
    let deadline = Instant::now() + END_TIMEOUT;
    // A zombie, whose parent has not waited for it yet, has no program anymore.
    while Path::new(&format!("/proc/{pid}/exe")).exists() {
        if Instant::now() > deadline {
            bail!("waited {} s for the process {pid} to end after {signal}", END_TIMEOUT.as_secs());
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controller_parses_its_four_forms() {
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
