//! The workload in which the leader ends: it stops, it crashes and starts again, and it is lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{harness::QUIET, operator::Processes};
use nix::sys::signal::Signal;
use serde_json::json;
use testbed::{
    cluster::{Bound, Cluster},
    ingress,
};
use tokio::time::sleep;

use crate::{controller_under_test, record::Figure, session::Session};

const REPLICA: &str = "replica";

/// How a leader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is asked to stop, and releases the Lease.
    Stop,
    /// It crashes, and starts again in the same Pod.
    Crash,
    /// It is gone, with its Pod or its node.
    Loss,
}

impl End {
    const ALL: [Self; 3] = [Self::Stop, Self::Crash, Self::Loss];

    /// The name of the figure, and its target in seconds.
    fn figure(self) -> (&'static str, f64) {
        match self {
            Self::Stop => ("SIGTERM", 2.0),
            Self::Crash => ("SIGKILL and a restart", 3.0),
            Self::Loss => ("SIGKILL", 20.0),
        }
    }

    fn signal(self) -> Signal {
        if self == Self::Stop { Signal::SIGTERM } else { Signal::SIGKILL }
    }
}

impl Session<'_> {
    pub(crate) async fn failover(&mut self) -> Result<()> {
        self.start().await?;
        let runs = self.bench.number;
        let mut worst = End::ALL.map(|end| (end, Duration::ZERO));
        let environment = &self.environment;
        let mut pair = Pair::start(environment.cluster, self.controller.ours()?)?;
        for run in 0..runs {
            for (end, longest) in &mut worst {
                let name = format!("web-{run}-{}", format!("{end:?}").to_lowercase());
                let hosts = [environment.user.host(&name)];
                environment.user.apply_ingress(&name, &hosts, json!({})).await?;
                sleep(ingress::REST).await;
                let began = Instant::now();
                controller_under_test::end(pair.leader()?, end.signal()).await?;
                if *end == End::Crash {
                    pair.start_ended().await?;
                }
                environment.user.apply_ingress(&name, &hosts, environment.annotations()).await?;
                environment.await_secret(&name).await?;
                *longest = began.elapsed().max(*longest);
                if *end != End::Crash {
                    pair.start_ended().await?;
                    pair.replica_leads = !pair.replica_leads;
                }
                // The standby needs a moment until it waits for the Lease.
                sleep(QUIET).await;
            }
        }
        for (end, longest) in worst {
            let (what, limit) = end.figure();
            let name = format!("{what} to the next Secret, longest of {runs}");
            self.record.figures.push(Figure::new(name, longest.as_secs_f64(), "s").at_most(limit));
        }
        Ok(())
    }
}

/// A leader and its standby, each as if in a Pod of its own.
struct Pair<'a> {
    cluster: &'a Cluster,
    first: &'a mut Processes,
    replica: Bound,
    replica_leads: bool,
}

impl<'a> Pair<'a> {
    /// Starts the standby of a leader that is running.
    fn start(cluster: &'a Cluster, first: &'a mut Processes) -> Result<Self> {
        let replica = first.start_replica(cluster, REPLICA)?;
        Ok(Self { cluster, first, replica, replica_leads: false })
    }

    /// The process ID of the leader on the host.
    fn leader(&self) -> Result<u32> {
        let first = self.first.operator_pid();
        if self.replica_leads { Ok(self.replica.pid()) } else { first.context("no operator is running") }
    }

    /// Starts the process that has led and ended, in the same Pod: a process with the same name has the same UID.
    async fn start_ended(&mut self) -> Result<()> {
        if self.replica_leads {
            self.replica = self.first.start_replica(self.cluster, REPLICA)?;
            Ok(())
        } else {
            self.first.start_operator(self.cluster, &[]).await
        }
    }
}
