//! The workload in which the leader ends, and another replica takes over.

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

use crate::{
    bench::Bench,
    controller_under_test::{self, ControllerUnderTest},
    environment::{Environment, await_secret},
    record::{Figure, Record},
};

const REPLICA: &str = "replica";

impl Bench {
    pub(crate) async fn failover(
        &self,
        environment: &Environment<'_>,
        controller: &mut ControllerUnderTest<'_>,
        record: &mut Record,
    ) -> Result<()> {
        environment.start(controller).await?;
        let mut worst = BTreeMap::new();
        let cluster = environment.cluster;
        let ours = controller.ours()?;
        // Who leads ends, and is started anew as the one that waits.
        let mut replica = ours.start_replica(cluster, REPLICA)?;
        let mut replica_leads = false;
        for run in 0..self.number {
            for signal in [Signal::SIGTERM, Signal::SIGKILL] {
                let name = format!("web-{run}-{}", signal.as_str().to_lowercase());
                let hosts = [environment.user.host(&name)];
                environment.user.apply_ingress(&name, &hosts, json!({})).await?;
                sleep(ingress::REST).await;
                let leader = if replica_leads { Some(replica.pid()) } else { ours.operator_pid() };
                let began = Instant::now();
                controller_under_test::end(leader.context("nobody leads")?, signal).await?;
                environment.user.apply_ingress(&name, &hosts, environment.annotations()).await?;
                await_secret(&environment.user, &name).await?;
                let longest = worst.entry(signal.as_str()).or_insert(Duration::ZERO);
                *longest = began.elapsed().max(*longest);
                if replica_leads {
                    replica = ours.start_replica(cluster, REPLICA)?;
                } else {
                    ours.start_operator(cluster, &[]).await?;
                }
                replica_leads = !replica_leads;
                // It waits for the Lease before it is of use.
                sleep(QUIET).await;
            }
        }
        for (signal, limit) in [(Signal::SIGTERM, 2.0), (Signal::SIGKILL, 20.0)] {
            let longest = worst.get(signal.as_str()).copied().unwrap_or_default().as_secs_f64();
            let name = format!("{signal} to the next Secret, longest of {}", self.number);
            record.figures.push(Figure::new(name, longest, "s").at_most(limit));
        }
        Ok(())
    }
}
