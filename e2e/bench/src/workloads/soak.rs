//! The workload that repeats what an operator does for months: whether its memory levels off.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::certmanager::Certificate;
use e2e::harness::await_quiet;
use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use testbed::process::resident;
use tokio::time::{Instant, sleep};

use super::issuance::CONCURRENCY;
use crate::{
    accounting::megabytes,
    controller_under_test::OPERATOR,
    environment::{FIRST, TIMEOUT},
    ready_watch::ReadyWatch,
    record::Figure,
    session::Session,
};

/// The number of Certificates in each burst.
const BURST: usize = 50;

/// How long the deletion of a burst has no effect that is still to come.
const QUIET: Duration = Duration::from_secs(3);

impl Session<'_> {
    /// Issues certificates in bursts, and deletes each burst before the next one, so that the memory that is kept is of no use.
    pub(crate) async fn soak(&mut self) -> Result<()> {
        self.start().await?;
        let mut after = vec![self.resident()?];
        let measuring = self.measure().await?;
        for burst in 0..self.bench.number {
            let ready_watch = ReadyWatch::begin(&self.environment, BURST, 0).await?;
            self.create_sources(&format!("s{burst}-"), BURST, CONCURRENCY).await?;
            ready_watch.end(&self.controller, &measuring).await?;
            self.delete_all().await?;
            let requests = || Ok(Some(measuring.events(&self.controller)?.len()));
            await_quiet("the controller", QUIET, TIMEOUT, requests).await?;
            after.push(self.resident()?);
            println!("after burst {}: {:.1} MB resident", burst + 1, megabytes(self.resident()?));
        }
        let wall = measuring.elapsed();
        self.end(measuring, wall).await?;
        let (middle, last) = (after[after.len() / 2], after[after.len() - 1]);
        let growth = megabytes(last) - megabytes(middle);
        self.record.figures.extend([
            Figure::new("resident before the first burst", megabytes(after[0]), "MB"),
            Figure::new("resident after half of the bursts", megabytes(middle), "MB"),
            Figure::new("resident after the last burst", megabytes(last), "MB"),
            Figure::new("growth in the second half", growth, "MB"),
        ]);
        Ok(())
    }

    fn resident(&self) -> Result<u64> {
        let programs = self.controller.programs();
        let program = programs.iter().find(|it| it.name == OPERATOR).context("the controller has ended")?;
        resident(program.pid)
    }

    /// Deletes all Ingresses but the first one, waits until their Certificates are gone, and deletes their Secrets.
    async fn delete_all(&self) -> Result<()> {
        let user = &self.environment.user;
        let others = ListParams::default().fields(&format!("metadata.name!={FIRST}"));
        let ingresses: Api<Ingress> = user.api();
        ingresses.delete_collection(&DeleteParams::default(), &others).await?;
        let certificates: Api<Certificate> = user.api();
        let deadline = Instant::now() + TIMEOUT;
        while certificates.list_metadata(&others).await?.items.iter().any(|it| it.name_any() != FIRST) {
            ensure!(Instant::now() < deadline, "the Certificates of deleted Ingresses are still there");
            sleep(Duration::from_millis(200)).await;
        }
        let secrets: Api<Secret> = user.api();
        secrets.delete_collection(&DeleteParams::default(), &others).await?;
        Ok(())
    }
}
