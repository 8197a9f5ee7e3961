//! Leader election by a `coordination.k8s.io/v1` Lease: one process writes at a time.
//!
//! Every write is guarded by the Lease's resourceVersion, so two processes can't both win. A holder has expired when this process has
//! observed no renewal for the lease duration, measured by its own monotonic clock: timestamps of other machines are not trusted. Why not
//! a crate: `docs/adr/0007-own-lease.md`.

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
use tokio::time::{Instant, sleep, timeout};

use super::error_text;
use crate::clock::Clock;

/// Settings of leader election.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The identity of this process, unique in the cluster.
    pub identity: String,
    /// How long a leader that does not renew still counts.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// The time between two attempts.
    pub retry_period: Duration,
}

/// A Lease, and what was observed of it.
pub struct Lease<'a> {
    api: Api<LeaseObject>,
    settings: LeaseSettings,
    clock: &'a dyn Clock,
    observed: Option<Observation>,
}

/// The last change that was observed, and when.
struct Observation {
    version: Option<String>,
    at: Instant,
}

impl<'a> Lease<'a> {
    /// A handle. Sends no request.
    pub fn new(client: Client, settings: LeaseSettings, clock: &'a dyn Clock) -> Self {
        let api = Api::namespaced(client, &settings.namespace);
        Self { api, settings, clock, observed: None }
    }

    /// Waits until this process is the leader.
    pub async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                // The next attempt notices a leader that has crashed; the watch, one that has released the Lease.
                Ok(false) => _ = timeout(self.settings.retry_period, self.released()).await,
                Err(error) => {
                    tracing::warn!(error = error_text(&error), "failed to acquire leadership, will retry");
                    sleep(self.settings.retry_period).await;
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

    /// Renews until that has failed for the renew deadline, or another process is the leader.
    pub async fn hold(&mut self) {
        let mut last = Instant::now();
        loop {
            sleep(self.settings.retry_period).await;
            let left = self.settings.renew_deadline.saturating_sub(last.elapsed());
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => last = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(error = error_text(&error), "failed to renew leadership, will retry");
                }
                Err(_) => {}
            }
            if last.elapsed() >= self.settings.renew_deadline {
                return;
            }
        }
    }

    /// Releases the Lease, so that a standby takes over immediately.
    pub async fn release(&mut self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.settings.name).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.settings.identity) {
            return;
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        _ = self.api.replace(&self.settings.name, &PostParams::default(), &lease).await;
    }

    /// Acquires or renews the Lease, unless another process holds it. Returns whether this process is the leader.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let now = MicroTime(self.clock.now());
        let Some(mut lease) = self.api.get_opt(&self.settings.name).await? else {
            let lease = LeaseObject {
                metadata: ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(now.clone(), now, 0)),
            };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let old = lease.spec.clone().unwrap_or_default();
        let holder = old.holder_identity.unwrap_or_default();
        let is_ours = holder == self.settings.identity;
        if !is_ours && !holder.is_empty() && !self.is_expired(lease.metadata.resource_version.as_deref()) {
            return Ok(false);
        }
        let since = if is_ours { old.acquire_time.unwrap_or_else(|| now.clone()) } else { now.clone() };
        let transitions = old.lease_transitions.unwrap_or_default().saturating_add(i32::from(!is_ours));
        lease.spec = Some(self.spec(since, now, transitions));
        won(self.api.replace(&self.settings.name, &PostParams::default(), &lease).await)
    }

    fn spec(&self, acquire_time: MicroTime, renew_time: MicroTime, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            acquire_time: Some(acquire_time),
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: i32::try_from(self.settings.lease_duration.as_secs()).ok(),
            lease_transitions: Some(transitions),
            renew_time: Some(renew_time),
            ..LeaseSpec::default()
        }
    }

    /// Whether no change of the Lease has been observed for the lease duration.
    fn is_expired(&mut self, version: Option<&str>) -> bool {
        match &self.observed {
            Some(observed) if observed.version.as_deref() == version => {
                observed.at.elapsed() >= self.settings.lease_duration
            }
            _ => {
                self.observed =
                    Some(Observation { version: version.map(ToOwned::to_owned), at: Instant::now() });
                false
            }
        }
    }
}

/// Whether a Lease has no holder after a change.
fn is_free(change: &WatchEvent<LeaseObject>) -> bool {
    match change {
        WatchEvent::Added(lease) | WatchEvent::Modified(lease) => {
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
            holder.unwrap_or_default().is_empty()
        }
        WatchEvent::Deleted(_) => true,
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => false,
    }
}

/// Whether a write succeeded. A conflict means that another process was faster, which is not an error.
fn won(written: Result<LeaseObject, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_without_holder_is_free() {
        let held_by = |holder: Option<&str>| LeaseObject {
            spec: Some(LeaseSpec { holder_identity: holder.map(Into::into), ..LeaseSpec::default() }),
            ..LeaseObject::default()
        };
        assert!(is_free(&WatchEvent::Modified(held_by(Some("")))));
        assert!(is_free(&WatchEvent::Added(held_by(None))));
        assert!(is_free(&WatchEvent::Deleted(held_by(Some("a")))));
        assert!(!is_free(&WatchEvent::Added(held_by(Some("a")))));
    }
}
