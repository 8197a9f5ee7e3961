//! Where private keys are generated: RSA keys keep a core busy for tens of milliseconds to seconds. Next: `decision/fair_queue.rs` for
//! whose key is next.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use tokio::{sync::oneshot, task::spawn_blocking};

use crate::{
    decision::fair_queue::{Lane, Slots},
    error::ReconcileError,
    fair_slots::{FairSlots, Permit},
    pki::{KeyError, KeyKind, PrivateKey},
    process_limits,
    sync::lock,
};

/// The largest RSA key, in bits, that is generated with the priority of everything else: it takes a tenth of a second on average.
const SMALL: usize = 2048;

/// The largest RSA key, in bits, of which several are generated at a time: it takes about a second. One of 8192 bits takes ten.
const LARGE: usize = 4096;

/// How many keys are kept whose reconciles have ended before they were generated.
const MAX_SPARE: usize = 8;

/// Generates a few keys at a time, off the threads that serve reconciles. Namespaces take turns, and no number of large keys delays a
/// small one, or anything else that needs a core.
pub struct KeyPool {
    small: FairSlots,
    large: FairSlots,
    huge: FairSlots,
    /// Keys that belong to nothing yet. Otherwise a large key might never come: on a busy machine it takes longer than a reconcile may.
    spare: Arc<Mutex<Vec<PrivateKey>>>,
}

impl Default for KeyPool {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from).max(2);
        Self {
            small: FairSlots::new(Slots::unshared(threads)),
            large: FairSlots::new(Slots::unshared(threads - 1)),
            huge: FairSlots::new(Slots::unshared(1)),
            spare: Arc::default(),
        }
    }
}

impl KeyPool {
    /// A pool that takes these keys first. How long a key takes is the only thing about a history that can't be repeated.
    pub fn with_spare(keys: Vec<PrivateKey>) -> Self {
        Self { spare: Arc::new(Mutex::new(keys)), ..Self::default() }
    }

    /// Generates a key for an object in a namespace.
    ///
    /// # Errors
    /// The key can't be generated.
    pub async fn generate(&self, kind: KeyKind, namespace: &str) -> Result<PrivateKey, ReconcileError> {
        let mut permits = Vec::new();
        for slots in self.slots(kind) {
            permits.push(slots.acquire(Lane { namespace: namespace.to_owned(), server: None }).await);
        }
        if let Some(spare) = self.take_spare(kind) {
            return Ok(spare);
        }
        let generated = self.start(kind, permits)?.await;
        Ok(generated.map_err(|_| ReconcileError::Internal("the thread of a key has ended".to_owned()))??)
    }

    /// Generates a key on another thread. The permits are held until it is there: a reconcile that was cancelled does not stop the thread.
    fn start(
        &self,
        kind: KeyKind,
        permits: Vec<Permit>,
    ) -> Result<oneshot::Receiver<Result<PrivateKey, KeyError>>, ReconcileError> {
        let (sender, receiver) = oneshot::channel();
        let spare = Arc::clone(&self.spare);
        let generate = move || {
            let _permits = permits;
            if let Err(Ok(unused)) = sender.send(PrivateKey::generate(kind)) {
                let mut spare = lock(&spare);
                if spare.len() < MAX_SPARE {
                    spare.push(unused);
                }
            }
        };
        if !is_large(kind) {
            spawn_blocking(generate);
            return Ok(receiver);
        }
        // A thread of its own, because no thread can raise its priority again.
        let thread = thread::Builder::new().name("large key".to_owned()).spawn(move || {
            process_limits::lower_priority();
            generate();
        });
        thread.map_err(|error| ReconcileError::Internal(format!("failed to start a thread: {error}")))?;
        Ok(receiver)
    }

    fn take_spare(&self, kind: KeyKind) -> Option<PrivateKey> {
        let mut spare = lock(&self.spare);
        let place = spare.iter().position(|key| key.kind() == kind)?;
        Some(spare.swap_remove(place))
    }

    /// What a key needs, the scarcest first.
    fn slots(&self, kind: KeyKind) -> Vec<&FairSlots> {
        match kind {
            KeyKind::Rsa { bits } if bits > LARGE => vec![&self.huge, &self.large],
            KeyKind::Rsa { .. } if is_large(kind) => vec![&self.large],
            KeyKind::Rsa { .. } | KeyKind::Ecdsa(_) | KeyKind::Ed25519 => vec![&self.small],
        }
    }
}

fn is_large(kind: KeyKind) -> bool {
    matches!(kind, KeyKind::Rsa { bits } if bits > SMALL)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::pki::Curve;

    const RSA_4096: KeyKind = KeyKind::Rsa { bits: 4096 };

    #[tokio::test]
    async fn large_keys_of_one_tenant_delay_no_other() {
        let pool = KeyPool::default();
        let junk = || Lane { namespace: "junk".to_owned(), server: None };
        let mut generating = Vec::new();
        while let Some(permit) = pool.large.acquire(junk()).now_or_never() {
            generating.push(permit);
        }
        assert!(pool.generate(RSA_4096, "junk").now_or_never().is_none());
        let small = pool.generate(KeyKind::Ecdsa(Curve::P256), "other").await;
        assert!(small.is_ok(), "there is always a thread that generates no large key");
    }

    /// Its reconcile has a deadline, and starts again after that.
    #[tokio::test]
    async fn key_that_comes_too_late_is_used_by_the_next() -> anyhow::Result<()> {
        let pool = KeyPool::default();
        assert!(pool.generate(RSA_4096, "a").now_or_never().is_none());
        timeout(Duration::from_mins(5), async {
            while lock(&pool.spare).is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await?;
        assert!(pool.take_spare(KeyKind::Rsa { bits: 8192 }).is_none(), "another size");
        let key = pool.generate(RSA_4096, "b").now_or_never();
        assert_eq!(key.transpose()?.map(|key| key.kind()), Some(RSA_4096));
        assert!(lock(&pool.spare).is_empty(), "no key is used twice");
        Ok(())
    }

    #[test]
    fn only_one_huge_key_is_generated_at_a_time() {
        let pool = KeyPool::default();
        let needs = |bits| pool.slots(KeyKind::Rsa { bits }).len();
        assert_eq!([2048, 3072, 4096, 4104, 8192].map(needs), [1, 1, 1, 2, 2]);
    }
}
