//! A limit on requests per second that waits.

use std::sync::Mutex;

use tokio::time::{Instant, sleep};

use crate::{decision::limits, sync::lock};

/// Lets so many requests through in a second, and some at once after a rest.
pub(super) struct RateLimiter {
    created: Instant,
    bucket: Mutex<limits::TokenBucket>,
}

impl RateLimiter {
    /// Lets twice as many through at once.
    pub(super) fn new(rate: f64) -> Self {
        Self::with_burst(rate, 2.0 * rate)
    }

    pub(super) fn with_burst(rate: f64, burst: f64) -> Self {
        Self { created: Instant::now(), bucket: Mutex::new(limits::TokenBucket::new(rate, burst)) }
    }

    pub(super) async fn acquire(&self) {
        let wait = lock(&self.bucket).take(self.created.elapsed());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let bucket = RateLimiter::new(10.0);
        let began = Instant::now();
        for _ in 0..20 {
            bucket.acquire().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        bucket.acquire().await;
        assert!(began.elapsed() >= Duration::from_millis(90), "{:?}", began.elapsed());
    }
}
