//! Connections from Pods, and whether the network lets them through. Knows agnhost; must not know why a connection is allowed.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use testbed::cluster::Cluster;
use tokio::time::Instant;

/// How long a connection may take that is allowed. One that is dropped takes as long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How soon a changed policy has to apply.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// How many connections are tried concurrently.
const CONCURRENT: usize = 6;

/// A text that a DNS server answers, if only to say that it is not supported.
const UDP_TEXT: &str = "not a real query of DNS";

/// Where a connection comes from: a Pod that runs agnhost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// What it is in place of, as in "the operator".
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) pod: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// A connection, and whether it must be allowed.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) from: Client,
    /// What it connects to, as in "the API server".
    pub(crate) to: &'static str,
    /// An address, and a port after the colon. Something listens there.
    pub(crate) target: String,
    pub(crate) protocol: Protocol,
    pub(crate) must: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    Dropped,
}

impl Display for Verdict {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Allowed => "allowed",
            Self::Dropped => "dropped",
        })
    }
}

impl Display for Flow {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { from, to, target, protocol, must: _ } = self;
        write!(formatter, "{} -> {to} ({target}, {protocol:?})", from.name)
    }
}

/// Tries all connections, and prints what happened to each. Returns those that were not treated as they must be.
pub(crate) async fn check(cluster: &Cluster, flows: &[Flow]) -> Result<Vec<String>> {
    let verdicts: Vec<_> = stream::iter(flows)
        .map(async |flow| flow.try_out(cluster).await)
        .buffered(CONCURRENT)
        .try_collect()
        .await?;
    let mut wrong = Vec::new();
    for (flow, verdict) in flows.iter().zip(verdicts) {
        println!("{verdict}: {flow}");
        if verdict != flow.must {
            wrong.push(format!("{flow} is {verdict}, and must be {}", flow.must));
        }
    }
    Ok(wrong)
}

impl Flow {
    /// Connects until a policy applies that was changed after `began`. Returns how long that took at most.
    pub(crate) async fn await_verdict(
        &self,
        cluster: &Cluster,
        verdict: Verdict,
        began: Instant,
    ) -> Result<Duration> {
        loop {
            if self.try_out(cluster).await? == verdict {
                // A connection that is dropped was so from its beginning.
                let since = if verdict == Verdict::Dropped { CONNECT_TIMEOUT } else { Duration::ZERO };
                return Ok(began.elapsed().saturating_sub(since));
            }
            ensure!(began.elapsed() < SOON, "{self} is not {verdict} after {} s", SOON.as_secs());
        }
    }

    /// Connects once.
    ///
    /// # Errors
    /// The connection was neither made nor dropped, such as where nothing listens.
    pub(crate) async fn try_out(&self, cluster: &Cluster) -> Result<Verdict> {
        let mut kubectl = cluster.kubectl();
        kubectl.args([
            "exec",
            "--namespace",
            self.from.namespace,
            self.from.pod,
            "--",
            "/agnhost",
            "connect",
        ]);
        kubectl.arg(format!("--timeout={}s", CONNECT_TIMEOUT.as_secs()));
        kubectl.arg(match self.protocol {
            Protocol::Tcp => "--protocol=tcp".to_owned(),
            Protocol::Udp => "--protocol=udp".to_owned(),
        });
        kubectl.arg(format!("--udp-data={UDP_TEXT}")).arg(&self.target);
        let output = kubectl.output().await.context("failed to start kubectl")?;
        if output.status.success() {
            return Ok(Verdict::Allowed);
        }
        let printed = xtask::process::text(&output);
        if printed.contains("TIMEOUT") {
            return Ok(Verdict::Dropped);
        }
        bail!("{self} failed in another way than by a policy: {}", printed.trim())
    }
}
