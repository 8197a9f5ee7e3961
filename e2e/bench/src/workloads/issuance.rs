//! Workloads in which users request certificates.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{cert_manager_fixture::KeyAlgorithm, harness::QUIET};
use futures::{TryStreamExt, future::try_join_all, stream};
use serde_json::json;
use testbed::ingress;
use tokio::time::sleep;

use crate::{
    bench::Source,
    ready_watch::ReadyWatch,
    record::{Figure, f64_of},
    session::Session,
};

/// The number of concurrent API requests of users.
pub(super) const CONCURRENCY: usize = 64;

impl Session<'_> {
    pub(crate) async fn latency(&mut self) -> Result<()> {
        self.start().await?;
        let measuring = self.measure().await?;
        let environment = &self.environment;
        let (mut issued, mut served) = (Vec::new(), Vec::new());
        for run in 0..self.bench.number {
            let name = format!("web-{run}");
            environment.apply_source(&name, json!({})).await?;
            sleep(ingress::REST).await;
            let began = Instant::now();
            environment.apply_source(&name, environment.annotations()).await?;
            environment.await_secret(&name).await?;
            issued.push(began.elapsed());
            environment.await_https(&name).await?;
            served.push(began.elapsed());
        }
        sleep(QUIET).await;
        let wall = measuring.elapsed();
        let costs = self.end(measuring, wall).await?;
        for times in [&mut issued, &mut served] {
            times.sort();
        }
        let part = |times: &[Duration], percent: usize| {
            times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64()
        };
        self.record.figures.extend([
            Figure::new("annotation to Secret, p50", part(&issued, 50), "s").at_most(1.2),
            Figure::new("annotation to Secret, p95", part(&issued, 95), "s").at_most(2.5),
            Figure::new("annotation to Secret, longest", part(&issued, 100), "s"),
            Figure::new("annotation to HTTPS, p50", part(&served, 50), "s"),
            Figure::new("annotation to HTTPS, p95", part(&served, 95), "s"),
            Figure::new("annotation to HTTPS, longest", part(&served, 100), "s"),
        ]);
        self.account(&costs)
    }

    pub(crate) async fn burst(&mut self) -> Result<()> {
        self.start().await?;
        let number = self.bench.number;
        let ready_watch = ReadyWatch::begin(&self.environment, number, 0).await?;
        let measuring = self.measure().await?;
        self.create_sources("w", number, CONCURRENCY).await?;
        let ready = ready_watch.end(&self.controller, &measuring).await?;
        let environment = &self.environment;
        try_join_all((0..number).map(async |index| environment.await_https(&format!("w{index}")).await))
            .await?;
        let served = measuring.elapsed();
        // The cleanup counts too.
        self.await_quiet(&measuring).await?;
        let costs = self.end(measuring, ready.all).await?;
        let all = Figure::new("all ready", ready.all.as_secs_f64(), "s");
        let rate = Figure::new("rate", f64_of(number) / ready.all.as_secs_f64() * 60.0, "certificates/min");
        self.record.figures.extend([
            // The target is for Ingresses.
            all.at_most(8.0).only_if(number == 50 && self.bench.source == Source::Ingress),
            rate.at_least(400.0).only_if(number == 1000 && self.bench.key == KeyAlgorithm::Ecdsa),
            Figure::new("half ready", ready.half.as_secs_f64(), "s"),
            Figure::new("all served over HTTPS", served.as_secs_f64(), "s"),
        ]);
        self.account(&costs)
    }

    /// Creates annotated objects, so many at a time, whose names begin with a prefix.
    pub(super) async fn create_sources(&self, prefix: &str, number: usize, concurrency: usize) -> Result<()> {
        let environment = &self.environment;
        stream::iter((0..number).map(Ok))
            .try_for_each_concurrent(concurrency, async |index| {
                environment.apply_source(&format!("{prefix}{index}"), environment.annotations()).await
            })
            .await
    }

    pub(crate) async fn many_names(&mut self) -> Result<()> {
        self.start().await?;
        // Traefik applies a change immediately if it has seen none for two seconds.
        sleep(QUIET).await;
        let number = self.bench.number;
        let measuring = self.measure().await?;
        let environment = &self.environment;
        let hosts: Vec<_> = (0..number).map(|index| environment.user.host(&format!("h{index}"))).collect();
        environment.user.apply_ingress("web", &hosts, environment.annotations()).await?;
        environment.await_secret("web").await?;
        let wall = measuring.elapsed();
        self.await_quiet(&measuring).await?;
        let costs = self.end(measuring, wall).await?;
        let all = Figure::new("Secret with all hosts", wall.as_secs_f64(), "s");
        self.record.figures.push(all.at_most(5.0).only_if(number == 100));
        // Per host, because each host has its own challenge.
        self.account(&costs)
    }
}
