//! Leader election by a `coordination.k8s.io/v1` Lease: one process writes at a time.
//!
//! Every write is guarded by the Lease's resourceVersion, so two processes can't both win. A holder has expired when this process has
//! observed no renewal for the lease duration, measured by its own monotonic clock: timestamps of other machines are not trusted. Why not
//! a crate: `docs/adr/0007-own-lease.md`. Next: `decision/lease.rs` for the rules, `leadership.rs` for who calls this.

use std::{future::pending, pin::pin, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    api::coordination::v1::{Lease as LeaseObject, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{error_text, version_number};
use crate::{
    clock::{Clock, SystemClock},
    decision::lease::{Claim, claim, claimed, is_rewound},
    fence::{self, Moment},
};

/// Settings of leader election.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The identity of this process. No process that may run at the same time has the same.
    pub identity: String,
    /// How long a leader that does not renew still counts.
    pub lease_duration: Duration,
    /// How long after its last renewal a leader stops everything. Shorter than the lease duration.
    pub renew_deadline: Duration,
    /// The time between two attempts. Shorter than the renew deadline.
    pub retry_period: Duration,
}

/// A Lease, and what was observed of it.
pub struct Lease {
    api: Api<LeaseObject>,
    settings: LeaseSettings,
    observed: Option<Observation>,
    /// The resourceVersion of the last write of this process.
    written: Option<u64>,
}

/// The last change that was observed, and when.
struct Observation {
    version: Option<String>,
    at: Instant,
}

/// The outcome of an attempt to acquire or renew.
enum Attempt {
    /// This process is the leader.
    Won,
    /// Another one is, and its Lease is valid for this time unless it renews.
    Held {
        /// Its name in the Lease.
        holder: String,
        /// From now.
        left: Duration,
    },
    /// Another process has written the Lease since it was read. The next attempt shows what.
    Conflict,
}

impl Lease {
    /// A handle. Sends no request.
    pub fn new(client: Client, settings: LeaseSettings) -> Self {
        let api = Api::namespaced(client, &settings.namespace);
        Self { api, settings, observed: None, written: None }
    }

    /// Waits until this process is the leader.
    pub async fn acquire(&mut self) {
        let retry_period = self.settings.retry_period;
        let mut reported = None;
        loop {
            match self.attempt_in_time().await {
                Ok(Attempt::Won) => return,
                Ok(Attempt::Held { holder, left }) => {
                    if reported.as_ref() != Some(&holder) {
                        let seconds = left.as_secs();
                        tracing::info!(
                            holder,
                            seconds,
                            "waiting for the Lease, which is valid for this time after a renewal"
                        );
                        reported = Some(holder);
                    }
                    // The next attempt notices a leader that has crashed; the watch, one that has released the Lease.
                    _ = timeout(left.min(retry_period), self.released()).await;
                }
                Ok(Attempt::Conflict) => sleep(retry_period).await,
                Err(error) => {
                    tracing::warn!(error, "failed to acquire leadership, will retry");
                    sleep(retry_period).await;
                }
            }
        }
    }

    /// Waits until the Lease has no holder. Never returns if the Lease can't be watched.
    async fn released(&self) {
        let only = WatchParams::default().fields(&format!("metadata.name={}", self.settings.name));
        if let Ok(changes) = self.api.watch(&only, "0").await {
            let mut changes = pin!(changes);
            while let Some(Ok(change)) = changes.next().await {
                if is_free(&change) {
                    return;
                }
            }
        }
        pending::<()>().await;
    }

    /// Renews until this process must stop, and returns why. That it can't renew is not a reason here: then the fence
    /// ends the process.
    pub async fn hold(&mut self) -> &'static str {
        let mut next = Instant::now() + self.settings.retry_period;
        loop {
            sleep_until(next).await;
            next = Instant::now() + self.settings.retry_period;
            match self.attempt_in_time().await {
                Ok(Attempt::Held { .. }) => return "another process holds the Lease",
                Ok(Attempt::Won | Attempt::Conflict) => {}
                Err(error) => {
                    tracing::warn!(error, "failed to renew leadership, will retry");
                }
            }
        }
    }

    /// Releases the Lease, so that a standby takes over immediately.
    pub async fn release(&self) {
        let deadline = self.settings.renew_deadline / 2;
        let released =
            async { while self.attempt_release().await.is_err_and(|error| is_conflict(&error)) {} };
        _ = timeout(deadline, released).await;
    }

    async fn attempt_release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else { return Ok(()) };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.settings.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        self.api.replace(&self.settings.name, &PostParams::default(), &lease).await.map(drop)
    }

    /// One attempt, with a deadline: a connection to a node that is gone never answers, and the next attempt opens another one.
    /// Returns why it failed.
    async fn attempt_in_time(&mut self) -> Result<Attempt, String> {
        let deadline = self.settings.renew_deadline / 2;
        match timeout(deadline, self.attempt()).await {
            Ok(attempt) => attempt.map_err(|error| error_text(&error)),
            Err(_) => Err(format!("the API server did not answer within {} s", deadline.as_secs_f64())),
        }
    }

    /// Acquires or renews the Lease, unless another process holds it.
    async fn attempt(&mut self) -> Result<Attempt, kube::Error> {
        let LeaseSettings { name, identity, lease_duration, renew_deadline, .. } = &self.settings;
        let lease = self.api.get_opt(name).await?;
        let old = lease.as_ref().and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let version = lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if is_rewound(self.written, version.as_deref().and_then(version_number)) {
            fence::end("the API server was restored from a backup, and everything has to be read again");
        }
        let unchanged_for = match &self.observed {
            Some(observed) if observed.version == version => observed.at.elapsed(),
            _ => {
                self.observed = Some(Observation { version, at: Instant::now() });
                Duration::ZERO
            }
        };
        if let Claim::Wait(left) = claim(&old, identity, *lease_duration, unchanged_for) {
            return Ok(Attempt::Held { holder: old.holder_identity.unwrap_or_default(), left });
        }
        let spec = Some(claimed(&old, identity, *lease_duration, &MicroTime(SystemClock.now())));
        let began = Moment::now();
        let written = if let Some(lease) = lease {
            self.api.replace(name, &PostParams::default(), &LeaseObject { spec, ..lease }).await
        } else {
            let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
            self.api.create(&PostParams::default(), &LeaseObject { metadata, spec }).await
        };
        match written {
            Ok(lease) => {
                fence::extend(began, *renew_deadline);
                self.written = lease.metadata.resource_version.as_deref().and_then(version_number);
                Ok(Attempt::Won)
            }
            Err(error) if is_conflict(&error) => Ok(Attempt::Conflict),
            Err(error) => Err(error),
        }
    }
}

/// Whether a Lease has no holder after a change.
fn is_free(change: &WatchEvent<LeaseObject>) -> bool {
    match change {
        WatchEvent::Added(lease) | WatchEvent::Modified(lease) => {
            let holder = lease.spec.as_ref().and_then(|spec: &LeaseSpec| spec.holder_identity.as_deref());
            holder.unwrap_or_default().is_empty()
        }
        WatchEvent::Deleted(_) => true,
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => false,
    }
}

/// Whether another process was faster.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
}
