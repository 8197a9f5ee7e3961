//! When a Certificate is at rest: nothing is to be done for it until a time, unless something changes that it depends on.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use crds::{certmanager::Certificate, condition};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{super::RESYNC, Reconciling};
use crate::{
    context::{Context, IssuerLookup, SecretRead},
    decision::{Requeue, backoff::fraction, certificate},
    k8s::{Waker, is_newer},
    rest::Rest,
};

/// The longest that a Certificate rests, less up to a quarter: what was missed is found then.
const LONGEST: Duration = Duration::from_hours(24);

/// How long a Certificate that has nothing to do stays in the queue.
const SHORT: Duration = Duration::from_mins(1);

/// Wakes Certificates whose rest is over, for ever.
pub(in super::super) async fn enqueue_due(context: Arc<Context>, waker: Waker<Certificate>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (namespace, name) in context.resting.rise(context.now()) {
            waker.wake_named(&name, Some(&namespace));
        }
    }
}

/// The hash of all that was seen, with the version of the Certificate itself.
pub(super) fn with_version(seen: u64, version: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seen, version).hash(&mut hasher);
    hasher.finish()
}

impl Reconciling<'_> {
    /// A hash of all that a decision depends on but for the time and the Certificate itself, as far as it is known without
    /// asking anybody.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut seen = DefaultHasher::new();
        self.certificate.metadata.uid.hash(&mut seen);
        let next_key_name = self.next_key_name();
        self.secret_version().hash(&mut seen);
        self.stored_secret(&next_key_name).map(|secret| secret.version.clone()).hash(&mut seen);
        let requests = self.requests();
        for request in &requests {
            request.metadata.resource_version.hash(&mut seen);
        }
        self.order(&requests).map(|order| order.resource_version()).hash(&mut seen);
        for rival in self.rivals() {
            rival.metadata.uid.hash(&mut seen);
        }
        let past_key = certificate::past_key_name(self.certificate).filter(|name| self.is_key(name));
        (past_key, self.is_key(&next_key_name)).hash(&mut seen);
        if let IssuerLookup::Found(issuer) =
            self.context.issuer(&self.certificate.spec.issuer_ref, &self.namespace())
        {
            (issuer.is_ready(), &issuer.version).hash(&mut seen);
        }
        seen.finish()
    }

    /// Whether nothing is to be done, as what is seen is what it was when that was found.
    pub(super) fn is_settled(&self, seen: u64) -> bool {
        let rest = self.context.resting.get(&self.namespace(), &self.certificate.name_any());
        rest.is_some_and(|rest| rest.until > self.context.now() && rest.seen == seen)
    }

    /// Remembers that nothing is to be done for a while, in place of what stands in the Secret. A short while is left to the
    /// queue.
    pub(super) fn settle(&self, seen: u64, next: Requeue) -> Requeue {
        // Without our label, nothing is heard of a Secret.
        let is_heard_of = self.stored_secret(&self.certificate.spec.secret_name).is_some();
        let now = self.context.now();
        // Not all of them at once.
        let uid = self.certificate.uid().unwrap_or_default();
        let longest = LONGEST.mul_f64(1.0 - fraction(&uid, &[now.as_second()]) / 4.0);
        let wait = match next {
            Requeue::After(wait) => wait,
            Requeue::OnChange | Requeue::Resync => RESYNC,
        };
        let wait = wait.min(if is_heard_of { longest } else { RESYNC });
        if wait < SHORT {
            return Requeue::After(wait);
        }
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        let until = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        let namespace = self.namespace();
        self.context.resting.put(&namespace, &self.certificate.name_any(), Rest { seen, until });
        let conditions = self.certificate.status.as_ref().map_or(&[][..], |status| &status.conditions);
        if !condition::is_true(conditions, condition::ISSUING) {
            self.context.secret_reads.forget(&(namespace, self.certificate.spec.secret_name.clone()));
        }
        Requeue::OnChange
    }

    /// How new the Secret is, as far as it is known: what was written is known before it is heard of.
    fn secret_version(&self) -> Option<String> {
        let name = &self.certificate.spec.secret_name;
        let stored = self.stored_secret(name).map(|secret| secret.version.to_string());
        match self.context.secret_reads.get(&(self.namespace(), name.clone())) {
            Some(SecretRead::Present { version, view }) if view.is_watched() => {
                Some(stored.filter(|stored| is_newer(stored, &version)).unwrap_or(version))
            }
            _ => stored,
        }
    }
}
