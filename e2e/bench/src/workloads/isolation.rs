//! What one tenant notices of another that keeps the operator busy.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crds::{
    acme::{Order, State},
    certmanager::{Certificate, CertificateRequest},
    condition::{self, HasConditions},
};
use e2e::{harness, noise::Noise, user::User};
use kube::{Resource, ResourceExt, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use serde_json::json;
use testbed::pebble::{Pebble, Settings};

use crate::{
    environment::ISSUER,
    record::{Figure, f64_of},
    session::Session,
};

/// What the other tenant creates.
const NOISE: Noise =
    Noise { hanging_orders: 200, hanging_issuers: 12, large_keys: 1000, shared_orders: 3000 };

/// The namespace of the other tenant, and the name of the ClusterIssuer at the CA that hangs.
const NOISY: &str = "noisy";

impl Session<'_> {
    pub(crate) async fn isolation(&mut self) -> Result<()> {
        self.start().await?;
        let quiet = self.issue_one_by_one("quiet").await?;
        let cluster = self.environment.cluster;
        harness::create_namespace(&cluster.client().await?, NOISY).await?;
        let noisy = User::new(cluster, NOISY).await?;
        let hanging = Pebble::in_cluster(cluster, &Settings::calm()).await?;
        noisy.create_cluster_issuer(NOISY, &hanging, json!({})).await?;
        NOISE.create(&noisy, NOISY, ISSUER, &hanging).await?;
        let (before, began) = (Progress::of(&noisy).await?, Instant::now());
        let busy = self.issue_one_by_one("busy").await?;
        let (after, took) = (Progress::of(&noisy).await?, began.elapsed());
        before.ensure_busy()?;
        after.ensure_busy()?;
        ensure!(after.issued > before.issued, "the busy tenant was issued nothing meanwhile");
        ensure!(after.large_keys > before.large_keys, "no large key was generated meanwhile");
        let per_minute = |count: usize| f64_of(count) / took.as_secs_f64() * 60.0;
        let ratio = busy.p95.as_secs_f64() / quiet.p95.as_secs_f64();
        self.record.figures.extend([
            Figure::new("annotation to Secret, quiet, p50", quiet.p50.as_secs_f64(), "s"),
            Figure::new("annotation to Secret, quiet, p95", quiet.p95.as_secs_f64(), "s"),
            Figure::new("annotation to Secret, beside a busy tenant, p50", busy.p50.as_secs_f64(), "s"),
            Figure::new("annotation to Secret, beside a busy tenant, p95", busy.p95.as_secs_f64(), "s"),
            Figure::new(
                "annotation to Secret, beside a busy tenant, longest",
                busy.longest.as_secs_f64(),
                "s",
            ),
            Figure::new("times as long, p95", ratio, "").at_most(2.0),
            Figure::new(
                "meanwhile issued to the busy tenant",
                per_minute(after.issued - before.issued),
                "certificates/min",
            )
            .at_least(1.0),
            Figure::new(
                "meanwhile large keys of the busy tenant",
                per_minute(after.large_keys - before.large_keys),
                "keys/min",
            )
            .at_least(1.0),
        ]);
        Ok(())
    }

    /// How long each of some Ingresses takes from annotation to Secret.
    async fn issue_one_by_one(&self, prefix: &str) -> Result<Times> {
        let mut times = Vec::new();
        for run in 0..self.bench.number {
            let (environment, name) = (&self.environment, format!("{prefix}-{run}"));
            let began = Instant::now();
            environment
                .user
                .apply_ingress(&name, &[environment.user.host(&name)], environment.annotations())
                .await?;
            environment.await_secret(&name).await?;
            times.push(began.elapsed());
        }
        Times::of(times).context("nothing was measured: set -n to at least 1")
    }
}

/// How long things take.
struct Times {
    p50: Duration,
    p95: Duration,
    longest: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort();
        // The nearest rank: of 20 times, 19 are at most the 95th percentile.
        let part = |percent: usize| times.get((times.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        Some(Self { p50: part(50)?, p95: part(95)?, longest: part(100)? })
    }
}

/// How far the busy tenant's objects are.
#[derive(Debug)]
struct Progress {
    /// Orders at the CA that hangs, that are not final.
    hanging: usize,
    /// Large keys, each of which has led to a CertificateRequest.
    large_keys: usize,
    /// CertificateRequests that were issued a certificate. Their Certificates follow once the namespace's others had their turn.
    issued: usize,
    /// Certificates that are not issued yet, with the small keys.
    waiting: usize,
}

impl Progress {
    async fn of(noisy: &User<'_>) -> Result<Self> {
        let certificates = list::<Certificate>(noisy).await?;
        let is_issued = |it: &&Certificate| condition::is_true(it.conditions(), condition::READY);
        let shared = certificates.iter().filter(|it| it.name_any().starts_with("shared-"));
        let is_final =
            |it: &Order| it.status.as_ref().is_some_and(|it| it.state.is_some_and(|it| it != State::Pending));
        let orders = list::<Order>(noisy).await?;
        let requests = list::<CertificateRequest>(noisy).await?;
        Ok(Self {
            hanging: orders.iter().filter(|it| it.spec.issuer_ref.name == NOISY && !is_final(it)).count(),
            large_keys: requests.iter().filter(|it| it.name_any().starts_with("large-")).count(),
            issued: requests
                .iter()
                .filter(|it| condition::is_true(it.conditions(), condition::READY))
                .count(),
            waiting: shared.filter(|it| !is_issued(it)).count(),
        })
    }

    /// Whether the other tenant still has everything to do.
    fn ensure_busy(&self) -> Result<()> {
        let Self { hanging, large_keys, issued: _, waiting } = self;
        println!("the busy tenant: {self:?}");
        ensure!(*hanging > 0, "no order waits for the CA that hangs");
        ensure!(*large_keys < NOISE.large_keys, "all large keys were generated before the end");
        ensure!(*waiting > 0, "all orders on the shared account were done before the end");
        Ok(())
    }
}

async fn list<K>(user: &User<'_>) -> Result<Vec<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    Ok(user.api::<K>().list(&ListParams::default()).await?.items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_the_nearest_rank() {
        let times = Times::of((1..=20).rev().map(Duration::from_secs).collect()).expect("times");
        assert_eq!([times.p50, times.p95, times.longest].map(|it| it.as_secs()), [10, 19, 20]);
        assert!(Times::of(Vec::new()).is_none());
    }
}
