//! One run of a workload: the controller, its environment, and the record of what the workload cost.
//!
//! Knows how to start the controller, measure it, and wait for it; must not know workloads. Next: `workloads/mod.rs`.

use std::time::Duration;

use anyhow::Result;
use e2e::harness::{self, QUIET};
use tokio::time::sleep;
use xtask::progress::Steps;

use crate::{
    bench::Bench,
    controller_under_test::{Controller, ControllerUnderTest, OPERATOR},
    environment::{Environment, TIMEOUT},
    measure::{Costs, Measuring},
    record::Record,
};

pub(crate) struct Session<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) steps: &'a Steps,
    pub(crate) controller: ControllerUnderTest<'a>,
    pub(crate) environment: Environment<'a>,
    pub(crate) record: Record,
}

impl Session<'_> {
    /// Starts the controller, and waits until it has issued a certificate and is quiet.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.controller.start().await?;
        self.environment.await_first_certificate().await?;
        sleep(2 * QUIET).await;
        Ok(())
    }

    /// Starts to measure the programs that are running.
    pub(crate) async fn measure(&self) -> Result<Measuring> {
        Measuring::begin(self.environment.cluster, &self.controller).await
    }

    /// Starts the controller, and measures it from its start.
    pub(crate) async fn start_measured(&mut self) -> Result<Measuring> {
        let mut measuring = self.measure().await?;
        self.controller.start().await?;
        for program in self.controller.programs() {
            if program.name == OPERATOR {
                measuring.add(program);
            }
        }
        Ok(measuring)
    }

    /// Waits until the controller has made no request for a while.
    pub(crate) async fn await_quiet(&self, measuring: &Measuring) -> Result<()> {
        let activity = || {
            let events = measuring.events(&self.controller)?;
            let requests = events.iter().filter(|event| event.verb != "watch").count();
            Ok((requests > 0 || self.controller.is_external()).then_some(requests))
        };
        harness::await_quiet("the controller", QUIET, TIMEOUT, activity).await
    }

    /// Ends a measurement. `wall` is how long the measured work took.
    pub(crate) async fn end(&self, measuring: Measuring, wall: Duration) -> Result<Costs> {
        measuring.end(self.environment.cluster, &self.controller, wall).await
    }

    /// Ends the programs. Returns the record, without targets if another controller was measured: ours do not apply to it.
    pub(crate) fn into_record(self) -> Record {
        let mut record = self.record;
        if self.bench.controller != Controller::Ours {
            record.figures = record.figures.into_iter().map(|figure| figure.only_if(false)).collect();
        }
        record
    }
}
