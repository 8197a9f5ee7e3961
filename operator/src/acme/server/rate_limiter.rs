//! A rate limit that callers wait for. Next: `decision/limits.rs` for the token bucket behind it.

use std::sync::Mutex;

use tokio::time::{Instant, sleep};

use crate::{decision::limits, sync::lock};

/// Delays callers so that they stay within a rate. After idle time it allows a burst.
pub(super) struct RateLimiter {
    created: Instant,
    bucket: Mutex<limits::TokenBucket>,
}

impl RateLimiter {
    /// Allows `rate` calls per second, and bursts of twice as many.
    pub(super) fn new(rate: f64) -> Self {
        Self::with_burst(rate, 2.0 * rate)
    }

    pub(super) fn with_burst(rate: f64, burst: f64) -> Self {
        Self { created: Instant::now(), bucket: Mutex::new(limits::TokenBucket::new(rate, burst)) }
    }

    /// Waits until the rate allows one more call.
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
    async fn rate_limiter_allows_a_burst_then_its_rate() {
        let limiter = RateLimiter::new(10.0);
        let began = Instant::now();
        for _ in 0..20 {
            limiter.acquire().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        limiter.acquire().await;
        assert!(began.elapsed() >= Duration::from_millis(90), "{:?}", began.elapsed());
    }
}
