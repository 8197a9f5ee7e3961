//! Workloads with Certificates and Secrets that exist before the controller starts.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::cert_manager_fixture::{Completeness, Plan};
use jiff::SignedDuration;
use testbed::{audit::AuditEvent, pebble};
use tokio::time::sleep;
use xtask::progress::Steps;

use crate::{
    accounting::megabytes,
    bench::{Bench, now},
    controller_under_test::{ControllerUnderTest, OPERATOR},
    environment::{Environment, ISSUER, await_quiet, measure_started},
    measure::{Costs, Measuring},
    ready_watch::{Ready, ReadyWatch},
    record::{Figure, Record, f64_of},
};

impl Bench {
    pub(crate) async fn adopt(
        &self,
        environment: &Environment<'_>,
        controller: &mut ControllerUnderTest<'_>,
        record: &mut Record,
        steps: &Steps,
    ) -> Result<()> {
        let (ready, costs) = self.start_with(self.restored(), 0, environment, controller, steps).await?;
        let all = Figure::new("start to all ready", ready.all.as_secs_f64(), "s");
        record.figures.push(all.at_most(10.0).only_if(self.number <= 5000));
        record.figures.push(secret_writes(&costs));
        self.account(record, &costs)
    }

    pub(crate) async fn restart(
        &self,
        environment: &Environment<'_>,
        controller: &mut ControllerUnderTest<'_>,
        record: &mut Record,
        steps: &Steps,
    ) -> Result<()> {
        self.start_with(self.restored(), 0, environment, controller, steps).await?;
        controller.stop().await?;
        let mut measuring = Measuring::begin(environment.cluster, controller, None).await?;
        controller.start().await?;
        measure_started(&mut measuring, controller);
        await_quiet(&measuring, controller).await?;
        let wall = measuring.elapsed();
        let costs = measuring.end(environment.cluster, controller, wall).await?;
        let all = Figure::new("start to the last request", costs.last_request().as_secs_f64(), "s");
        record.figures.extend([
            all.at_most(3.0).only_if(self.number <= 5000),
            Figure::new("writes", f64_of(costs.writes()), "requests").at_most(0.0),
        ]);
        self.account(record, &costs)
    }

    pub(crate) async fn renew_wave(
        &self,
        environment: &Environment<'_>,
        controller: &mut ControllerUnderTest<'_>,
        record: &mut Record,
        steps: &Steps,
    ) -> Result<()> {
        let fresh = Plan::fresh(ISSUER, self.number, Completeness::Running, now());
        // A day after two thirds of its life: due.
        let not_before = fresh.not_before - fresh.lifetime * 2 / 3 - SignedDuration::from_hours(24);
        let due = Plan { key: self.key, not_before, ..fresh };
        let (ready, costs) = self.start_with(due, 2, environment, controller, steps).await?;
        let minute = f64_of(self.number) / ready.all.as_secs_f64() * 60.0;
        record.figures.extend([
            Figure::new("start to all renewed", ready.all.as_secs_f64(), "s"),
            Figure::new("rate", minute, "certificates/min"),
        ]);
        self.account(record, &costs)
    }

    pub(crate) async fn idle(
        &self,
        environment: &Environment<'_>,
        controller: &mut ControllerUnderTest<'_>,
        record: &mut Record,
        steps: &Steps,
    ) -> Result<()> {
        self.start_with(self.restored(), 0, environment, controller, steps).await?;
        let measuring = Measuring::begin(environment.cluster, controller, None).await?;
        sleep(self.watched).await;
        let costs = measuring.end(environment.cluster, controller, self.watched).await?;
        let (time, peak) = costs.of(OPERATOR).context("the controller is gone")?;
        let share = time.as_secs_f64() / self.watched.as_secs_f64() * 100.0;
        record.figures.extend([
            Figure::new("watched for", self.watched.as_secs_f64(), "s"),
            Figure::new("writes", f64_of(costs.writes()), "requests").at_most(0.0),
            Figure::new("processor", share, "% of a core").at_most(0.5),
            Figure::new("operator, peak resident", megabytes(peak), "MB"),
            Figure::new("bytes from the API server", megabytes(costs.received) * 1000.0, "kB"),
        ]);
        Ok(())
    }

    /// Certificates and Secrets that are there, and nothing else.
    fn restored(&self) -> Plan {
        let plan = Plan::fresh(ISSUER, self.number, Completeness::Restored, now());
        Plan { key: self.key, ..plan }
    }

    /// Makes the fixture, starts the controller, and waits until all are issued, with a revision at least, and it has come to
    /// rest.
    async fn start_with(
        &self,
        plan: Plan,
        revision: i64,
        environment: &Environment<'_>,
        controller: &mut ControllerUnderTest<'_>,
        steps: &Steps,
    ) -> Result<(Ready, Costs)> {
        environment.issuer().await?;
        self.build(&plan, environment, steps).await?;
        let ready_watch = ReadyWatch::begin(environment, self.number, revision).await?;
        let mut measuring =
            Measuring::begin(environment.cluster, controller, Some(pebble::CLUSTER_PROCESS)).await?;
        controller.start().await?;
        measure_started(&mut measuring, controller);
        let ready = ready_watch.end(controller, &measuring).await?;
        await_quiet(&measuring, controller).await?;
        let costs = measuring.end(environment.cluster, controller, ready.all).await?;
        Ok((ready, costs))
    }

    async fn build(&self, plan: &Plan, environment: &Environment<'_>, steps: &Steps) -> Result<()> {
        let expected = Duration::from_millis(5) * u32::try_from(self.number).unwrap_or(u32::MAX);
        let step = steps.begin(format!("making {} Certificates and Secrets", plan.count), Some(expected));
        plan.build(&environment.user.client).await?;
        step.done("");
        Ok(())
    }
}

fn secret_writes(costs: &Costs) -> Figure {
    let is_secret_write = |event: &&AuditEvent| event.is_write() && event.resource() == "secrets";
    let count = costs.events.iter().filter(is_secret_write).count();
    // The key of the ACME account is the one that may be new.
    Figure::new("writes to Secrets", f64_of(count), "requests").at_most(1.0)
}
