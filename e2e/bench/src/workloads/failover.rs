//! The workload in which the leader ends and another replica takes over.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use e2e::harness::QUIET;
use nix::sys::signal::Signal;
use serde_json::json;
use testbed::ingress;
use tokio::time::sleep;

use crate::{controller_under_test, record::Figure, session::Session};

const REPLICA: &str = "replica";

impl Session<'_> {
    pub(crate) async fn failover(&mut self) -> Result<()> {
        self.start().await?;
        let runs = self.bench.number;
        let mut worst = BTreeMap::new();
        let environment = &self.environment;
        let cluster = environment.cluster;
        let ours = self.controller.ours()?;
        // The leader is ended, and then restarted as the standby.
        let mut replica = ours.start_replica(cluster, REPLICA)?;
        let mut replica_leads = false;
        for run in 0..runs {
            for signal in [Signal::SIGTERM, Signal::SIGKILL] {
                let name = format!("web-{run}-{}", signal.as_str().to_lowercase());
                let hosts = [environment.user.host(&name)];
                environment.user.apply_ingress(&name, &hosts, json!({})).await?;
                sleep(ingress::REST).await;
                let leader = if replica_leads { Some(replica.pid()) } else { ours.operator_pid() };
                let began = Instant::now();
                controller_under_test::end(leader.context("no operator is running")?, signal).await?;
                environment.user.apply_ingress(&name, &hosts, environment.annotations()).await?;
                environment.await_secret(&name).await?;
                let longest = worst.entry(signal.as_str()).or_insert(Duration::ZERO);
                *longest = began.elapsed().max(*longest);
                if replica_leads {
                    replica = ours.start_replica(cluster, REPLICA)?;
                } else {
                    ours.start_operator(cluster, &[]).await?;
                }
                replica_leads = !replica_leads;
                // The standby needs a moment until it waits for the Lease.
                sleep(QUIET).await;
            }
        }
        for (signal, limit) in [(Signal::SIGTERM, 2.0), (Signal::SIGKILL, 20.0)] {
            let longest = worst.get(signal.as_str()).copied().unwrap_or_default().as_secs_f64();
            let name = format!("{signal} to the next Secret, longest of {runs}");
            self.record.figures.push(Figure::new(name, longest, "s").at_most(limit));
        }
        Ok(())
    }
}
