//! Workloads with Certificates and what belongs to them, which exist before the controller starts.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::cert_manager_fixture::Plan;
use jiff::SignedDuration;
use testbed::audit::AuditEvent;
use tokio::time::sleep;

use crate::{
    accounting::megabytes,
    bench::now,
    controller_under_test::OPERATOR,
    environment::ISSUER,
    measure::Costs,
    ready_watch::{Ready, ReadyWatch},
    record::{Figure, f64_of},
    session::Session,
};

/// The figure that says how long a start takes.
const LAST_REQUEST: &str = "start to the last request";

impl Session<'_> {
    pub(crate) async fn adopt(&mut self) -> Result<()> {
        let (_, costs) = self.start_with(self.running(), 0).await?;
        let all = Figure::new(LAST_REQUEST, costs.last_request().as_secs_f64(), "s");
        self.record.figures.push(all.at_most(10.0).only_if(self.bench.number <= 5000));
        self.record.figures.push(secret_writes(&costs));
        self.account(&costs)
    }

    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.start_with(self.running(), 0).await?;
        self.controller.stop().await?;
        let measuring = self.start_measured().await?;
        self.await_quiet(&measuring).await?;
        let wall = measuring.elapsed();
        let costs = self.end(measuring, wall).await?;
        let all = Figure::new(LAST_REQUEST, costs.last_request().as_secs_f64(), "s");
        self.record.figures.extend([
            all.at_most(if self.bench.number <= 5000 { 3.0 } else { 6.0 }),
            Figure::new("writes", f64_of(costs.writes()), "requests").at_most(0.0),
        ]);
        self.account(&costs)
    }

    pub(crate) async fn renew_wave(&mut self) -> Result<()> {
        let fresh = Plan::fresh(ISSUER, self.bench.number, now());
        // Renewal was due a day ago, after two thirds of the lifetime.
        let not_before = fresh.not_before - fresh.lifetime * 2 / 3 - SignedDuration::from_hours(24);
        let due = Plan { key: self.bench.key, not_before, ..fresh };
        let (ready, costs) = self.start_with(due, 2).await?;
        let rate = f64_of(self.bench.number) / ready.all.as_secs_f64() * 60.0;
        self.record.figures.extend([
            Figure::new("start to all renewed", ready.all.as_secs_f64(), "s"),
            Figure::new("rate", rate, "certificates/min"),
        ]);
        self.account(&costs)
    }

    pub(crate) async fn idle(&mut self) -> Result<()> {
        let observed = self.bench.observed;
        self.start_with(self.running(), 0).await?;
        let measuring = self.measure().await?;
        sleep(observed).await;
        let costs = self.end(measuring, observed).await?;
        let (time, peak) = costs.of(OPERATOR).context("the controller has ended")?;
        let share = time.as_secs_f64() / observed.as_secs_f64() * 100.0;
        self.record.figures.extend([
            Figure::new("observed for", observed.as_secs_f64(), "s"),
            Figure::new("writes", f64_of(costs.writes()), "requests").at_most(0.0),
            Figure::new("CPU usage", share, "% of a core").at_most(0.5),
            Figure::new("operator peak memory", megabytes(peak), "MB"),
            Figure::new("data from the API server", megabytes(costs.received) * 1000.0, "kB"),
        ]);
        Ok(())
    }

    /// Valid Certificates with everything that belongs to them, as cert-manager leaves them behind.
    fn running(&self) -> Plan {
        let plan = Plan::fresh(ISSUER, self.bench.number, now());
        Plan { key: self.bench.key, ..plan }
    }

    /// Creates the objects of a plan, starts the controller, and waits until all Certificates are issued with at least this revision
    /// and the controller is quiet.
    async fn start_with(&mut self, plan: Plan, revision: i64) -> Result<(Ready, Costs)> {
        self.environment.apply_issuer().await?;
        self.build(&plan).await?;
        let ready_watch = ReadyWatch::begin(&self.environment, plan.count, revision).await?;
        let measuring = self.start_measured().await?;
        let ready = ready_watch.end(&self.controller, &measuring).await?;
        self.await_quiet(&measuring).await?;
        // If all were ready from the beginning, the start is over when the controller is quiet.
        let wall = if ready.all.is_zero() { measuring.elapsed() } else { ready.all };
        let costs = self.end(measuring, wall).await?;
        Ok((ready, costs))
    }

    async fn build(&self, plan: &Plan) -> Result<()> {
        let expected = Duration::from_millis(15) * u32::try_from(plan.count).unwrap_or(u32::MAX);
        let what = format!("creating {} Certificates and what belongs to them", plan.count);
        let step = self.steps.begin(what, Some(expected));
        plan.build(&self.environment.user.client).await?;
        step.done("");
        Ok(())
    }
}

fn secret_writes(costs: &Costs) -> Figure {
    let is_secret_write = |event: &&AuditEvent| event.is_write() && event.resource() == "secrets";
    let count = costs.events.iter().filter(is_secret_write).count();
    // Only the private key of the ACME account may be new.
    Figure::new("writes to Secrets", f64_of(count), "requests").at_most(1.0)
}
