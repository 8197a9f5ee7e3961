//! Workloads without a running controller: the lower bounds of this machine, and the simulation.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use e2e::cert_manager_fixture::KeyAlgorithm;
use testbed::cluster::Mode;
use xtask::progress::{Human, Steps};

use crate::{
    baselines,
    bench::{Bench, Workload},
    record::{Figure, NO_CONTROLLER, Record},
    simulation,
};

impl Bench {
    pub(crate) async fn baselines(&self, steps: &Steps) -> Result<Record> {
        let mut record = self.record(Workload::Baselines)?;
        NO_CONTROLLER.clone_into(&mut record.controller);
        for key in [KeyAlgorithm::Rsa, KeyAlgorithm::Ecdsa] {
            let step = steps.begin(format!("generating {} keys", key.name()), None);
            let time = baselines::key_generation(key)?;
            step.done(Human(time));
            let name = format!("key generation, {}", key.name());
            record.figures.push(Figure::new(name, time.as_secs_f64() * 1000.0, "ms"));
        }
        let step = steps.begin("ordering certificates with only instant-acme", None);
        let (one, rate) = baselines::bare_orders(&self.tools).await?;
        step.done("");
        record.figures.extend([
            Figure::new("one certificate with only instant-acme", one.as_secs_f64() * 1000.0, "ms"),
            Figure::new(
                "certificates with only instant-acme, 16 concurrent",
                rate * 60.0,
                "certificates/min",
            ),
        ]);
        let cluster = self.cluster(Mode::ControlPlane, steps).await?;
        let step = steps.begin("writing to the API server", None);
        let rate = baselines::api_writes_per_second(&cluster.client().await?).await?;
        step.done("");
        record.figures.push(Figure::new("writes to the API server, 16 concurrent", rate, "requests/s"));
        if self.cluster.is_none() {
            cluster.end()?;
        }
        Ok(record)
    }

    pub(crate) async fn simulation(&self, steps: &Steps) -> Result<Record> {
        let mut record = self.record(Workload::Simulation)?;
        let arguments = ["simulation".to_owned(), format!("--certificates={}", self.number)];
        let arguments = simulation::Arguments::try_parse_from(arguments)?;
        let step = steps.begin(
            format!("simulating a year of {} certificates", self.number),
            Some(Duration::from_mins(1)),
        );
        let began = Instant::now();
        let report = tokio::task::spawn_blocking(move || simulation::simulate(&arguments)).await?;
        let took = began.elapsed();
        step.done("");
        print!("{report}");
        ensure!(report.failures.is_empty(), "the simulation failed: {}", report.failures.join("; "));
        simulation::fill(&mut record, &report.json(), took)?;
        Ok(record)
    }
}
