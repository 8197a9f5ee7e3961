//! What one tenant notices of another that keeps the operator busy.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{harness, noise::Noise, user::User};
use serde_json::json;
use testbed::pebble::{Pebble, Settings};

use crate::{environment::ISSUER, record::Figure, session::Session};

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
        let busy = self.issue_one_by_one("busy").await?;
        self.record.figures.extend([
            Figure::new("annotation to Secret, quiet, p95", quiet.as_secs_f64(), "s"),
            Figure::new("annotation to Secret, beside a busy tenant, p95", busy.as_secs_f64(), "s"),
            Figure::new("ratio", busy.as_secs_f64() / quiet.as_secs_f64(), "").at_most(2.0),
        ]);
        Ok(())
    }

    /// The 95th percentile of the time from annotation to Secret.
    async fn issue_one_by_one(&self, prefix: &str) -> Result<Duration> {
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
        times.sort();
        Ok(times[(times.len() * 95 / 100).min(times.len() - 1)])
    }
}
