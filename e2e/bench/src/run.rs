//! Runs a workload in a cluster of its own, or in one that is named.

use anyhow::Result;
use xtask::progress::Steps;

use crate::{
    bench::{Bench, Workload},
    controller_under_test::{Controller, ControllerUnderTest},
    environment::Environment,
    record::Record,
};

impl Bench {
    /// Runs a workload.
    pub async fn run(&self, workload: Workload, steps: &Steps) -> Result<Record> {
        match workload {
            Workload::Baselines => return self.baselines(steps).await,
            Workload::Simulation => return self.simulation(steps).await,
            _ => {}
        }
        let cluster = self.cluster(self.mode(workload), steps).await?;
        let mut controller =
            ControllerUnderTest::prepare(&cluster, &self.controller, self.client.as_deref(), &self.binaries)
                .await?;
        let environment = Environment::new(&cluster, self.acme_latency, self.key).await?;
        let step = steps.begin(format!("{} of {}", workload.name(), self.number), None);
        let mut record = self.record(workload)?;
        match workload {
            Workload::Latency => self.latency(&environment, &mut controller, &mut record).await,
            Workload::Burst => self.burst(&environment, &mut controller, &mut record).await,
            Workload::ManyNames => self.many_names(&environment, &mut controller, &mut record).await,
            Workload::Adopt => self.adopt(&environment, &mut controller, &mut record, steps).await,
            Workload::Restart => self.restart(&environment, &mut controller, &mut record, steps).await,
            Workload::RenewWave => self.renew_wave(&environment, &mut controller, &mut record, steps).await,
            Workload::Idle => self.idle(&environment, &mut controller, &mut record, steps).await,
            Workload::Failover => self.failover(&environment, &mut controller, &mut record).await,
            Workload::Baselines | Workload::Simulation => unreachable!("they need no controller"),
        }?;
        step.done("");
        if self.controller != Controller::Ours {
            // What we hold ourselves to is no promise of others.
            record.figures = record.figures.into_iter().map(|figure| figure.only_if(false)).collect();
        }
        drop(controller);
        drop(environment);
        if self.cluster.is_none() {
            cluster.end()?;
        }
        Ok(record)
    }
}
