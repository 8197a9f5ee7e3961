//! Watches Certificates until all are ready, and records when half and all of them were. Next: `session.rs`.

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

/// How often the wait checks that the controller is running.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(500);

/// When Certificates became ready, since the beginning of the measurement.
pub(crate) struct Ready {
    /// When half of them were ready.
    pub(crate) half: Duration,
    /// When all of them were ready.
    pub(crate) all: Duration,
}

/// A running watch.
pub(crate) struct ReadyWatch {
    /// The times at which half and all of the Certificates were ready.
    found: JoinHandle<Result<[Instant; 2]>>,
}

impl ReadyWatch {
    /// Starts to watch for `count` Certificates that are issued with at least this revision, not counting [`FIRST`]. Returns when the
    /// existing Certificates are listed.
    pub(crate) async fn begin(environment: &Environment<'_>, count: usize, revision: i64) -> Result<Self> {
        let api: Api<Certificate> = Api::all(environment.user.client.clone());
        let (on_listed, listed) = oneshot::channel();
        let found = tokio::spawn(async move {
            let (mut ready, mut half, mut on_listed) = (BTreeSet::new(), Instant::now(), Some(on_listed));
            let watching = async {
                let mut events = pin!(watcher(api, watcher::Config::default()));
                while let Some(event) = events.try_next().await? {
                    let it = match event {
                        watcher::Event::Apply(it) | watcher::Event::InitApply(it) => it,
                        watcher::Event::InitDone => {
                            _ = on_listed.take().map(|on_listed| on_listed.send(()));
                            continue;
                        }
                        watcher::Event::Init | watcher::Event::Delete(_) => continue,
                    };
                    let has = it.status.as_ref().and_then(|status| status.revision).unwrap_or_default();
                    if it.name_any() == FIRST || has < revision || !user::is_issued(&it) {
                        continue;
                    }
                    ready.insert((it.namespace(), it.name_any()));
                    if ready.len() == count.div_ceil(2) {
                        half = Instant::now();
                    }
                    if ready.len() == count {
                        // All may have been ready before the watch, and the list is not over then.
                        _ = on_listed.take().map(|on_listed| on_listed.send(()));
                        return Ok([half, Instant::now()]);
                    }
                }
                bail!("the watch ended")
            };
            let outcome = timeout(TIMEOUT, watching).await;
            outcome.unwrap_or_else(|_| bail!("only {} of {count} Certificates are ready", ready.len()))
        });
        listed.await.context("failed to list Certificates")?;
        Ok(Self { found })
    }

    /// Waits until all Certificates are ready.
    ///
    /// # Errors
    /// The wait took too long, or the controller has ended.
    pub(crate) async fn end(
        mut self,
        controller: &ControllerUnderTest<'_>,
        measuring: &Measuring,
    ) -> Result<Ready> {
        let found = loop {
            match timeout(LIVENESS_INTERVAL, &mut self.found).await {
                Ok(found) => break found?,
                Err(_) => ensure!(controller.is_alive(), "the controller has ended; {}", controller.log()),
            }
        };
        let [half, all] = found.with_context(|| controller.log())?;
        let since = |time: Instant| time.saturating_duration_since(measuring.began());
        Ok(Ready { half: since(half), all: since(all) })
    }
}
