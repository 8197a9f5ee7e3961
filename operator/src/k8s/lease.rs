//! Leader election by a `coordination.k8s.io/v1` Lease: one process writes at a time.
//!
//! Every write is guarded by the Lease's resourceVersion, so two can't win. Whether a holder is still alive is judged by how
//! long its renewals have not been seen to change, by our own clock alone: clocks of others are not believed.

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

use crate::clock::Clock;

/// How leadership is held.
#[derive(Clone, Debug)]
pub struct LeaseSettings {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are: unique.
    pub identity: String,
    /// How long a holder counts that is not seen to renew.
    pub lease_duration: Duration,
    /// How long a holder tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// How long between two tries.
    pub retry_period: Duration,
}

/// A Lease, and what was seen of it.
pub struct Lease<'a> {
    api: Api<LeaseObject>,
    settings: LeaseSettings,
    clock: &'a dyn Clock,
    seen: Option<Seen>,
}

/// The last change that was seen, and when that was.
struct Seen {
    version: Option<String>,
    at: Instant,
}

impl<'a> Lease<'a> {
    /// Nothing is asked yet.
    pub fn new(client: Client, settings: LeaseSettings, clock: &'a dyn Clock) -> Self {
        let api = Api::namespaced(client, &settings.namespace);
        Self { api, settings, clock, seen: None }
    }

    /// Waits until we are the holder.
    pub async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                // A holder that is gone is seen by the next try, one that lets go at once.
                Ok(false) => _ = timeout(self.settings.retry_period, self.released()).await,
                Err(error) => {
                    tracing::warn!(%error, "failed to ask for leadership, will retry");
                    sleep(self.settings.retry_period).await;
                }
            }
        }
    }

    /// Ends when nobody is the holder; where the Lease can't be watched, never.
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

    /// Renews until that fails for too long, or somebody else is the holder.
    pub async fn hold(&mut self) {
        let mut last = Instant::now();
        loop {
            sleep(self.settings.retry_period).await;
            let left = self.settings.renew_deadline.saturating_sub(last.elapsed());
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => last = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "failed to renew leadership, will retry"),
                Err(_) => {}
            }
            if last.elapsed() >= self.settings.renew_deadline {
                return;
            }
        }
    }

    /// Lets go, so that the next one need not wait.
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

    /// Becomes or stays the holder, if nobody else is.
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
        if !is_ours && !holder.is_empty() && !self.is_over(lease.metadata.resource_version.as_deref()) {
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

    /// Whether the Lease has not been seen to change for as long as it lasts.
    fn is_over(&mut self, version: Option<&str>) -> bool {
        match &self.seen {
            Some(seen) if seen.version.as_deref() == version => {
                seen.at.elapsed() >= self.settings.lease_duration
            }
            _ => {
                self.seen = Some(Seen { version: version.map(ToOwned::to_owned), at: Instant::now() });
                false
            }
        }
    }
}

/// Whether nobody holds a Lease after a change.
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

/// Whether a write was done; not done is one that somebody else was quicker with.
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
    fn a_lease_is_free_when_its_holder_is_gone_from_it() {
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
