//! What a workload has around the controller: a user, an ACME server that may be far away, and waits that tell.

use std::{
    collections::BTreeSet,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use crds::certmanager::Certificate;
use e2e::{
    cert_manager_fixture::KeyAlgorithm,
    harness::create_namespace,
    user::{self, User, data},
};
use futures::TryStreamExt;
use kube::{Api, ResourceExt, runtime::watcher};
use serde_json::{Value, json};
use testbed::{
    cluster::{Bound, Cluster, NODE_ADDRESS, Process},
    pebble::{self, Pebble},
};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    measure::Measuring,
    subject::{OPERATOR, Subject},
};

const NAMESPACE: &str = "bench";

/// The ClusterIssuer of all that is issued.
pub(super) const ISSUER: &str = "bench";

/// The Ingress that shows that the controller works.
const FIRST: &str = "first";

/// How long anything may take.
const LIMIT: Duration = Duration::from_mins(20);

/// How long a controller that does nothing has done all it had to.
pub(super) const QUIET: Duration = Duration::from_secs(3);

/// How often a controller is looked after that is waited for.
const LIVENESS: Duration = Duration::from_millis(500);

/// What a workload has around it: a user with a namespace, an ACME server, perhaps far away.
pub(super) struct Bed<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) user: User<'a>,
    pebble: Pebble,
    key: KeyAlgorithm,
    /// The port of the relay that makes the ACME server seem far away.
    far: Option<(u16, Bound)>,
}

impl<'a> Bed<'a> {
    pub(super) async fn new(cluster: &'a Cluster, acme_latency: Duration, key: KeyAlgorithm) -> Result<Self> {
        let created = create_namespace(&cluster.client().await?, NAMESPACE).await;
        created.context("the cluster was measured before: make a new one")?;
        let far = if acme_latency.is_zero() {
            None
        } else {
            let port = cluster.reserve_port()?;
            let arguments = [
                "bench".to_owned(),
                "relay".to_owned(),
                format!("--listen={NODE_ADDRESS}:{port}"),
                format!("--to={NODE_ADDRESS}:{}", pebble::CLUSTER_PORT),
                format!("--round-trip={}ms", acme_latency.as_millis()),
            ];
            let relay = Process::new("acme-latency", std::env::current_exe()?, arguments);
            Some((port, cluster.start_bound(relay)?))
        };
        let user = User::new(cluster, NAMESPACE).await?;
        Ok(Self { cluster, user, pebble: Pebble::of_cluster(cluster)?, key, far })
    }

    /// What is merged into the issuer's `spec.acme`.
    fn change(&self) -> Value {
        match &self.far {
            Some((port, _)) => {
                let near = format!(":{}/", pebble::CLUSTER_PORT);
                json!({ "server": self.pebble.directory_url().replace(&near, &format!(":{port}/")) })
            }
            None => json!({}),
        }
    }

    pub(super) async fn issuer(&self) -> Result<()> {
        self.user.apply_cluster_issuer(ISSUER, &self.pebble, self.change()).await
    }

    /// Starts the controller, and waits until it issues.
    pub(super) async fn start(&self, subject: &mut Subject<'_>) -> Result<()> {
        subject.start().await?;
        self.user.cluster_issuer(ISSUER, &self.pebble, self.change()).await?;
        self.user.ingress(FIRST, &[self.user.host(FIRST)], self.annotations()).await?;
        await_secret(&self.user, FIRST).await?;
        sleep(2 * QUIET).await;
        Ok(())
    }

    pub(super) fn annotations(&self) -> Value {
        let mut annotations = user::annotation(ISSUER);
        annotations["cert-manager.io/private-key-algorithm"] = self.key.name().into();
        annotations
    }
}

/// When Certificates became ready.
pub(super) struct Ready {
    /// Half of them.
    pub(super) half: Duration,
    /// All of them.
    pub(super) all: Duration,
}

/// Looks out for Certificates that become ready.
pub(super) struct Lookout {
    found: JoinHandle<Result<[Instant; 2]>>,
}

impl Lookout {
    /// Begins to look for so many that are issued, with a revision at least, but for the first one of all. Returns when
    /// all that are there have been looked at.
    pub(super) async fn begin(bed: &Bed<'_>, count: usize, revision: i64) -> Result<Self> {
        let api: Api<Certificate> = Api::all(bed.user.client.clone());
        let (begun, listed) = oneshot::channel();
        let found = tokio::spawn(async move {
            let (mut seen, mut half, mut begun) = (BTreeSet::new(), Instant::now(), Some(begun));
            let looking = async {
                let mut events = pin!(watcher(api, watcher::Config::default()));
                while let Some(event) = events.try_next().await? {
                    let it = match event {
                        watcher::Event::Apply(it) | watcher::Event::InitApply(it) => it,
                        watcher::Event::InitDone => {
                            _ = begun.take().map(|begun| begun.send(()));
                            continue;
                        }
                        watcher::Event::Init | watcher::Event::Delete(_) => continue,
                    };
                    let has = it.status.as_ref().and_then(|status| status.revision).unwrap_or_default();
                    if it.name_any() == FIRST || has < revision || !user::is_issued(&it) {
                        continue;
                    }
                    seen.insert((it.namespace(), it.name_any()));
                    if seen.len() == count.div_ceil(2) {
                        half = Instant::now();
                    }
                    if seen.len() == count {
                        return Ok([half, Instant::now()]);
                    }
                }
                bail!("the watch ended")
            };
            let outcome = timeout(LIMIT, looking).await;
            outcome.unwrap_or_else(|_| bail!("only {} of {count} Certificates are ready", seen.len()))
        });
        listed.await.context("Certificates can't be watched")?;
        Ok(Self { found })
    }

    /// Waits until they are.
    ///
    /// # Errors
    /// Time is over, or the controller has ended.
    pub(super) async fn end(mut self, subject: &Subject<'_>, measuring: &Measuring) -> Result<Ready> {
        let found = loop {
            match timeout(LIVENESS, &mut self.found).await {
                Ok(found) => break found?,
                Err(_) => ensure!(subject.is_alive(), "the controller has ended; {}", subject.log()),
            }
        };
        let [half, all] = found.with_context(|| subject.log())?;
        let since = |time: Instant| time.saturating_duration_since(measuring.began());
        Ok(Ready { half: since(half), all: since(all) })
    }
}

/// Accounts for a controller that was just started.
pub(super) fn measure_started(measuring: &mut Measuring, subject: &Subject<'_>) {
    for program in subject.programs() {
        if program.name == OPERATOR {
            measuring.add(program);
        }
    }
}

/// Waits until the controller has asked nothing for a while.
pub(super) async fn await_quiet(measuring: &Measuring, subject: &Subject<'_>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    let (mut count, mut since) = (0, Instant::now());
    loop {
        let requests = measuring.events(subject)?.iter().filter(|event| event.verb != "watch").count();
        if requests != count {
            (count, since) = (requests, Instant::now());
        }
        if (count > 0 || subject.is_external()) && since.elapsed() >= QUIET {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the controller does not come to rest");
        sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until a Secret holds a certificate.
pub(super) async fn await_secret(user: &User<'_>, name: &str) -> Result<()> {
    let secret = user.await_secret(name, LIMIT).await?;
    ensure!(!data(Some(&secret), "tls.key").is_empty(), "{name} has no key");
    Ok(())
}
