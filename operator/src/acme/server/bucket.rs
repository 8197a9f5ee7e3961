//! A limit on requests per second.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// Lets so many requests through in a second, and twice as many at once after a rest.
pub(super) struct TokenBucket {
    rate: f64,
    /// How many are left, below zero where some wait; and when that was so.
    state: Mutex<(f64, Instant)>,
}

impl TokenBucket {
    pub(super) fn new(rate: f64) -> Self {
        Self { rate, state: Mutex::new((2.0 * rate, Instant::now())) }
    }

    pub(super) async fn take(&self) {
        let missing = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let refilled = state.0 + now.duration_since(state.1).as_secs_f64() * self.rate;
            *state = (refilled.min(2.0 * self.rate) - 1.0, now);
            -state.0
        };
        if missing > 0.0 {
            sleep(Duration::from_secs_f64(missing / self.rate)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let bucket = TokenBucket::new(10.0);
        let began = tokio::time::Instant::now();
        for _ in 0..20 {
            bucket.take().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        bucket.take().await;
        assert!(began.elapsed() >= Duration::from_millis(90), "{:?}", began.elapsed());
    }
}
