//! Runs one workload in a new cluster, or in an existing one if the command names it.
//!
//! Knows what each workload needs; must not measure. Next: `session.rs` for one run, `workloads/mod.rs`.

use anyhow::Result;
use xtask::progress::Steps;

use crate::{
    bench::{Bench, Workload},
    controller_under_test::ControllerUnderTest,
    environment::Environment,
    record::Record,
    session::Session,
};

impl Bench {
    /// Runs a workload. Returns its figures.
    pub async fn run(&self, workload: Workload, steps: &Steps) -> Result<Record> {
        match workload {
            Workload::Baselines => return self.baselines(steps).await,
            Workload::Simulation => return self.simulation(steps).await,
            _ => {}
        }
        let cluster = self.cluster(self.mode(workload), steps).await?;
        let controller = ControllerUnderTest::prepare(
            &cluster,
            &self.controller,
            self.client.as_deref(),
            &self.binaries,
            self.source,
        )
        .await?;
        let environment = Environment::new(&cluster, self.acme_latency, self.key, self.source).await?;
        let step = steps.begin(format!("{} of {}", workload.name(), self.number), None);
        let mut session =
            Session { bench: self, steps, controller, environment, record: self.record(workload)? };
        match workload {
            Workload::Latency => session.latency().await,
            Workload::Burst => session.burst().await,
            Workload::ManyNames => session.many_names().await,
            Workload::Adopt => session.adopt().await,
            Workload::Restart => session.restart().await,
            Workload::RenewWave => session.renew_wave().await,
            Workload::Idle => session.idle().await,
            Workload::Soak => session.soak().await,
            Workload::Failover => session.failover().await,
            Workload::Isolation => session.isolation().await,
            Workload::Baselines | Workload::Simulation => unreachable!("they need no controller"),
        }?;
        step.done("");
        let record = session.into_record();
        if self.cluster.is_none() {
            cluster.end()?;
        }
        Ok(record)
    }
}
