//! Settled Certificates: nothing has to be done until a known time, unless something changes that a decision depends on.
//!
//! Nearly all Certificates are settled nearly always, so only a hash of what was decided on is kept, and neither the content of the Secret
//! nor a place in the queue.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use crds::condition::{self, HasConditions};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{super::RESYNC, Reconciler, gather::Seen};
use crate::{
    cache::{IssuerLookup, SecretRead},
    context::Context,
    decision::{Requeue, backoff::fraction},
    k8s::is_newer,
    memory::Settled,
};

/// The longest time between two decisions, minus up to a quarter. It bounds the effect of a missed change.
const LONGEST: Duration = Duration::from_hours(24);

/// A Certificate that is due earlier than this stays in the queue instead.
const SHORT: Duration = Duration::from_mins(1);

/// Enqueues settled Certificates when they are due.
pub(in super::super) async fn enqueue_due(context: Arc<Context>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (namespace, name) in context.memory.settled.take_due(context.now()) {
            context.cache.certificates.enqueuer().enqueue_named(&name, Some(&namespace));
        }
    }
}

/// A hash of everything that a decision depends on, except the time and the Certificate's own resourceVersion.
#[derive(Clone, Copy)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    fn with_version(self, version: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.0, version).hash(&mut hasher);
        hasher.finish()
    }
}

impl Reconciler<'_> {
    /// The fingerprint of what is cached. It costs no request.
    pub(super) fn fingerprint(&self, seen: &Seen) -> Fingerprint {
        let mut hasher = DefaultHasher::new();
        self.certificate.metadata.uid.hash(&mut hasher);
        let next_key_name = self.next_key_name();
        self.secret_version().hash(&mut hasher);
        self.stored_secret(&next_key_name).map(|secret| secret.version.clone()).hash(&mut hasher);
        for request in &seen.requests {
            request.metadata.resource_version.hash(&mut hasher);
        }
        seen.order.as_ref().map(|order| order.resource_version()).hash(&mut hasher);
        for rival in self.rivals() {
            rival.metadata.uid.hash(&mut hasher);
        }
        (self.past_key_name(), self.is_key(&next_key_name), self.problem(), self.advice()).hash(&mut hasher);
        if let IssuerLookup::Found(issuer) =
            self.context.cache.issuer(&self.certificate.spec.issuer_ref, &self.namespace())
        {
            (issuer.is_ready(), &issuer.version).hash(&mut hasher);
        }
        Fingerprint(hasher.finish())
    }

    /// Whether the Certificate was settled with this fingerprint, and is not due yet.
    pub(super) fn is_settled(&self, fingerprint: Fingerprint) -> bool {
        let version = self.certificate.metadata.resource_version.as_deref().unwrap_or_default();
        let settled = self.context.memory.settled.get(&self.namespace(), &self.certificate.name_any());
        settled.is_some_and(|settled| {
            settled.until > self.context.now() && settled.fingerprint == fingerprint.with_version(version)
        })
    }

    /// Settles the Certificate at a resourceVersion until it is due. A short wait is left to the queue.
    pub(super) fn settle(&self, fingerprint: Fingerprint, version: &str, requeue: Requeue) -> Requeue {
        // Without the label, changes of the Secret are not noticed.
        let is_watched = self.stored_secret(&self.certificate.spec.secret_name).is_some();
        let now = self.context.now();
        // Spread, so that Certificates that were settled together are not due together.
        let longest = LONGEST.mul_f64(1.0 - fraction(&self.uid(), &[now.as_second()]) / 4.0);
        let wait = match requeue {
            Requeue::After(wait) => wait,
            Requeue::OnChange | Requeue::Resync => RESYNC,
        };
        let wait = wait.min(if is_watched { longest } else { RESYNC });
        if wait < SHORT {
            return Requeue::After(wait);
        }
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        let until = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        let namespace = self.namespace();
        let settled = Settled { fingerprint: fingerprint.with_version(version), until };
        self.context.memory.settled.put(&namespace, &self.certificate.name_any(), settled);
        if !condition::is_true(self.certificate.conditions(), condition::ISSUING)
            && !self.context.memory.renewal_info.is_expected_soon(&self.uid())
        {
            self.context.cache.secret_reads.forget(&(namespace, self.certificate.spec.secret_name.clone()));
        }
        Requeue::OnChange
    }

    /// The resourceVersion of the Secret, as far as it is known: our own write is known before the watch shows it.
    fn secret_version(&self) -> Option<String> {
        let name = &self.certificate.spec.secret_name;
        let stored = self.stored_secret(name).map(|secret| secret.version.to_string());
        match self.context.cache.secret_reads.get(&(self.namespace(), name.clone())) {
            Some(SecretRead::Present { version, view }) if view.is_watched() => {
                Some(stored.filter(|stored| is_newer(stored, &version)).unwrap_or(version))
            }
            _ => stored,
        }
    }
}
