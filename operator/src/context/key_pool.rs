//! Where private keys are generated: RSA keys keep a core busy for tens of milliseconds to seconds.

use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    error::ReconcileError,
    pki::{KeyKind, PrivateKey},
};

/// Generates at most as many keys at a time as there are cores, off the threads that serve reconciles.
pub struct KeyPool(Semaphore);

impl Default for KeyPool {
    fn default() -> Self {
        Self(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)))
    }
}

impl KeyPool {
    /// Generates a key.
    ///
    /// # Errors
    /// The key can't be generated.
    pub async fn generate(&self, kind: KeyKind) -> Result<PrivateKey, ReconcileError> {
        // The semaphore is never closed.
        let _permit = self.0.acquire().await;
        let generated = spawn_blocking(move || PrivateKey::generate(kind)).await;
        Ok(generated.map_err(|error| ReconcileError::Internal(error.to_string()))??)
    }
}
