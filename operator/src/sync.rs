//! Locking of mutexes that survive a panic. Must not know the values they protect.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, even if a thread panicked while it held the lock.
///
/// A panic ends one reconcile, not the process, so all other reconciles must still be able to lock.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_survives_a_panic() {
        let mutex = Mutex::new(1);
        let panicked = std::thread::scope(|scope| {
            let held = scope.spawn(|| {
                let _guard = lock(&mutex);
                panic!("while holding the lock");
            });
            held.join()
        });
        assert!(panicked.is_err());
        assert_eq!(*lock(&mutex), 1);
    }
}
