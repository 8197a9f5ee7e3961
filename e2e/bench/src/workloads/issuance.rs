//! Workloads in which the controller issues what users ask for.

use std::time::Instant;

use anyhow::Result;
use e2e::{cert_manager_fixture::KeyAlgorithm, harness::QUIET};
use futures::{TryStreamExt, stream};
use serde_json::json;
use testbed::{ingress, pebble};
use tokio::time::sleep;

use crate::{
    bench::Bench,
    controller_under_test::ControllerUnderTest,
    environment::{Environment, await_quiet, await_secret},
    measure::Measuring,
    ready_watch::ReadyWatch,
    record::{Figure, Record, f64_of},
};

/// How many requests of users there are at once.
const CONCURRENCY: usize = 64;

impl Bench {
    pub(crate) async fn latency(
        &self,
        environment: &Environment<'_>,
        controller: &mut ControllerUnderTest<'_>,
        record: &mut Record,
    ) -> Result<()> {
        environment.start(controller).await?;
        let measuring =
            Measuring::begin(environment.cluster, controller, Some(pebble::CLUSTER_PROCESS)).await?;
        let mut times = Vec::new();
        for run in 0..self.number {
            let name = format!("web-{run}");
            let hosts = [environment.user.host(&name)];
            environment.user.apply_ingress(&name, &hosts, json!({})).await?;
            sleep(ingress::REST).await;
            let began = Instant::now();
            environment.user.apply_ingress(&name, &hosts, environment.annotations()).await?;
            await_secret(&environment.user, &name).await?;
            times.push(began.elapsed());
        }
        sleep(QUIET).await;
        let wall = measuring.elapsed();
        let costs = measuring.end(environment.cluster, controller, wall).await?;
        times.sort();
        let part = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64();
        record.figures.extend([
            Figure::new("annotation to Secret, p50", part(50), "s").at_most(1.2),
            Figure::new("annotation to Secret, p95", part(95), "s").at_most(2.5),
            Figure::new("annotation to Secret, longest", part(100), "s"),
        ]);
        self.account(record, &costs)
    }

    pub(crate) async fn burst(
        &self,
        environment: &Environment<'_>,
        controller: &mut ControllerUnderTest<'_>,
        record: &mut Record,
    ) -> Result<()> {
        environment.start(controller).await?;
        let ready_watch = ReadyWatch::begin(environment, self.number, 0).await?;
        let measuring =
            Measuring::begin(environment.cluster, controller, Some(pebble::CLUSTER_PROCESS)).await?;
        stream::iter((0..self.number).map(Ok))
            .try_for_each_concurrent(CONCURRENCY, async |index| {
                let name = format!("w{index}");
                environment
                    .user
                    .apply_ingress(&name, &[environment.user.host(&name)], environment.annotations())
                    .await
            })
            .await?;
        let ready = ready_watch.end(controller, &measuring).await?;
        // What is cleaned up afterwards counts too.
        await_quiet(&measuring, controller).await?;
        let costs = measuring.end(environment.cluster, controller, ready.all).await?;
        let minute = f64_of(self.number) / ready.all.as_secs_f64() * 60.0;
        let all = Figure::new("all ready", ready.all.as_secs_f64(), "s");
        let rate = Figure::new("rate", minute, "certificates/min");
        record.figures.extend([
            all.at_most(8.0).only_if(self.number == 50),
            rate.at_least(400.0).only_if(self.number == 1000 && self.key == KeyAlgorithm::Ecdsa),
            Figure::new("half of them ready", ready.half.as_secs_f64(), "s"),
        ]);
        self.account(record, &costs)
    }

    pub(crate) async fn many_names(
        &self,
        environment: &Environment<'_>,
        controller: &mut ControllerUnderTest<'_>,
        record: &mut Record,
    ) -> Result<()> {
        environment.start(controller).await?;
        // Traefik takes a change at once where it took none for two seconds.
        sleep(QUIET).await;
        let measuring =
            Measuring::begin(environment.cluster, controller, Some(pebble::CLUSTER_PROCESS)).await?;
        let hosts: Vec<_> =
            (0..self.number).map(|index| environment.user.host(&format!("h{index}"))).collect();
        environment.user.apply_ingress("web", &hosts, environment.annotations()).await?;
        await_secret(&environment.user, "web").await?;
        let wall = measuring.elapsed();
        await_quiet(&measuring, controller).await?;
        let costs = measuring.end(environment.cluster, controller, wall).await?;
        let all = Figure::new("Secret with all hosts", wall.as_secs_f64(), "s");
        record.figures.push(all.at_most(5.0).only_if(self.number == 100));
        // For each name: that is what challenges are made for.
        self.account(record, &costs)
    }
}
