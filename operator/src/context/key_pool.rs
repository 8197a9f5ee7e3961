//! Where private keys are generated: RSA keys keep a core busy for tens of milliseconds to seconds. Next: `decision/fair_queue.rs` for
//! whose key is next.

use tokio::task::spawn_blocking;

use crate::{
    decision::fair_queue::{Lane, Slots},
    error::ReconcileError,
    fair_slots::FairSlots,
    pki::{KeyKind, PrivateKey},
};

/// The largest RSA key, in bits, that may take every thread: it takes a tenth of a second on average.
const SMALL: usize = 2048;

/// The largest RSA key, in bits, of which several are generated at a time: it takes about a second. One of 8192 bits takes ten.
const LARGE: usize = 4096;

/// Generates a few keys at a time, off the threads that serve reconciles. Namespaces take turns, and no number of large keys delays a
/// small one.
pub struct KeyPool {
    all: FairSlots,
    large: FairSlots,
    huge: FairSlots,
}

impl Default for KeyPool {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).max(2);
        let slots = |count| FairSlots::new(Slots::unshared(count));
        Self { all: slots(threads), large: slots(threads - 1), huge: slots(1) }
    }
}

impl KeyPool {
    /// Generates a key for an object in a namespace.
    ///
    /// # Errors
    /// The key can't be generated.
    pub async fn generate(&self, kind: KeyKind, namespace: &str) -> Result<PrivateKey, ReconcileError> {
        let mut permits = Vec::new();
        for slots in self.slots(kind) {
            permits.push(slots.acquire(Lane { namespace: namespace.to_owned(), server: None }).await);
        }
        let generated = spawn_blocking(move || {
            // Until the key is there: a reconcile that was cancelled does not stop this thread.
            let _permits = permits;
            PrivateKey::generate(kind)
        });
        Ok(generated.await.map_err(|error| ReconcileError::Internal(error.to_string()))??)
    }

    /// What a key needs, the scarcest first.
    fn slots(&self, kind: KeyKind) -> Vec<&FairSlots> {
        match kind {
            KeyKind::Rsa { bits } if bits > LARGE => vec![&self.huge, &self.large, &self.all],
            KeyKind::Rsa { bits } if bits > SMALL => vec![&self.large, &self.all],
            KeyKind::Rsa { .. } | KeyKind::Ecdsa(_) | KeyKind::Ed25519 => vec![&self.all],
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::pki::Curve;

    #[tokio::test]
    async fn large_keys_of_one_tenant_delay_no_other() {
        let pool = KeyPool::default();
        let junk = || Lane { namespace: "junk".to_owned(), server: None };
        let mut generating = Vec::new();
        while let Some(permit) = pool.large.acquire(junk()).now_or_never() {
            generating.extend([permit, pool.all.acquire(junk()).await]);
        }
        assert!(pool.generate(KeyKind::Rsa { bits: 4096 }, "junk").now_or_never().is_none());
        let small = pool.generate(KeyKind::Ecdsa(Curve::P256), "other").await;
        assert!(small.is_ok(), "there is always a thread that generates no large key");
    }

    #[test]
    fn only_one_huge_key_is_generated_at_a_time() {
        let pool = KeyPool::default();
        let needs = |bits| pool.slots(KeyKind::Rsa { bits }).len();
        assert_eq!([2048, 3072, 4096, 4104, 8192].map(needs), [1, 2, 2, 3, 3]);
    }
}
