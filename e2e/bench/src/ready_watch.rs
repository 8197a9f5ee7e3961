//! Watches Certificates until they are ready, and notes when.

use std::{
    collections::BTreeSet,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use crds::certmanager::Certificate;
use e2e::user;
use futures::TryStreamExt;
use kube::{Api, ResourceExt, runtime::watcher};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    controller_under_test::ControllerUnderTest,
    environment::{Environment, FIRST, TIMEOUT},
    measure::Measuring,
};

/// How often a watch checks that the controller is alive.
const LIVENESS: Duration = Duration::from_millis(500);

/// When Certificates became ready.
pub(crate) struct Ready {
    /// Half of them.
    pub(crate) half: Duration,
    /// All of them.
    pub(crate) all: Duration,
}

/// Looks out for Certificates that become ready.
pub(crate) struct ReadyWatch {
    found: JoinHandle<Result<[Instant; 2]>>,
}

impl ReadyWatch {
    /// Begins to look for so many that are issued, with a revision at least, but for the first one of all. Returns when
    /// all that are there have been looked at.
    pub(crate) async fn begin(environment: &Environment<'_>, count: usize, revision: i64) -> Result<Self> {
        let api: Api<Certificate> = Api::all(environment.user.client.clone());
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
            let outcome = timeout(TIMEOUT, looking).await;
            outcome.unwrap_or_else(|_| bail!("only {} of {count} Certificates are ready", seen.len()))
        });
        listed.await.context("Certificates can't be watched")?;
        Ok(Self { found })
    }

    /// Waits until they are.
    ///
    /// # Errors
    /// Time is over, or the controller has ended.
    pub(crate) async fn end(
        mut self,
        controller: &ControllerUnderTest<'_>,
        measuring: &Measuring,
    ) -> Result<Ready> {
        let found = loop {
            match timeout(LIVENESS, &mut self.found).await {
                Ok(found) => break found?,
                Err(_) => ensure!(controller.is_alive(), "the controller has ended; {}", controller.log()),
            }
        };
        let [half, all] = found.with_context(|| controller.log())?;
        let since = |time: Instant| time.saturating_duration_since(measuring.began());
        Ok(Ready { half: since(half), all: since(all) })
    }
}
