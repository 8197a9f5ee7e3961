//! The directory of a server, fetched once for all that need it. Must not know how it is fetched. Next: `mod.rs`.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::acme::{AcmeError, Directory};

/// How long a fetched directory is used before it is fetched again.
const LIFETIME: Duration = Duration::from_hours(24);

/// The longest time that a failure is remembered. It is remembered for as long as it took: a server that responds immediately may be
/// asked again immediately, and one that hangs occupies only the caller that asks it.
const LONGEST_FAILURE: Duration = Duration::from_secs(30);

/// How long the last directory is used after it could not be fetched again.
const REFRESH_AGAIN: Duration = Duration::from_hours(1);

/// The directory of a server, or why there is none.
#[derive(Default)]
pub(super) struct DirectoryCache(Mutex<State>);

#[derive(Default)]
struct State {
    fetched: Option<(Instant, Arc<Directory>)>,
    failure: Option<Failure>,
}

struct Failure {
    error: AcmeError,
    at: Instant,
    /// Until when the server is not asked again.
    until: Instant,
}

impl DirectoryCache {
    /// The directory. It is fetched on first use and then once a day; if that fails, the last one is used. All callers that wait for the same
    /// fetch get the same result.
    pub(super) async fn get(
        &self,
        fetch: impl Future<Output = Result<Arc<Directory>, AcmeError>>,
    ) -> Result<Arc<Directory>, AcmeError> {
        let asked = Instant::now();
        let mut state = self.0.lock().await;
        if let Some((fetched, directory)) = &state.fetched
            && fetched.elapsed() < LIFETIME
        {
            return Ok(Arc::clone(directory));
        }
        let began = Instant::now();
        let is_known = |failure: &&Failure| asked <= failure.at || began < failure.until;
        let error = match state.failure.as_ref().filter(is_known) {
            Some(failure) => failure.error.clone(),
            None => match fetch.await {
                Ok(directory) => {
                    *state = State { fetched: Some((Instant::now(), Arc::clone(&directory))), failure: None };
                    return Ok(directory);
                }
                Err(error) => {
                    let at = Instant::now();
                    let brief = began.elapsed().min(LONGEST_FAILURE);
                    let until = at + if state.fetched.is_some() { REFRESH_AGAIN } else { brief };
                    state.failure = Some(Failure { error: error.clone(), at, until });
                    error
                }
            },
        };
        state.fetched.as_ref().map(|(_, old)| Arc::clone(old)).ok_or(error)
    }

    /// Lets the next use fetch the directory, whatever has failed before.
    pub(super) async fn retry(&self) {
        self.0.lock().await.failure = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;
    use tokio::time::sleep;

    use super::*;

    /// A server that fails after a time, and counts.
    struct Failing(Duration, AtomicU32);

    impl Failing {
        fn after(seconds: u64) -> Self {
            Self(Duration::from_secs(seconds), AtomicU32::new(0))
        }

        async fn fetch(&self) -> Result<Arc<Directory>, AcmeError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            sleep(self.0).await;
            Err(AcmeError::Unsupported("anything".to_owned()))
        }

        fn requests(&self) -> u32 {
            self.1.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failure_is_shared_by_all_that_wait() {
        let (cache, server, began) = (DirectoryCache::default(), Failing::after(30), Instant::now());
        let results = join_all((0..1000).map(|_| cache.get(server.fetch()))).await;
        assert!(results.iter().all(Result::is_err));
        assert_eq!((server.requests(), began.elapsed().as_secs()), (1, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_server_is_left_alone_for_a_while() {
        let (cache, server) = (DirectoryCache::default(), Failing::after(40));
        for (pause, requests) in [(0, 1), (0, 1), (29, 1), (2, 2)] {
            sleep(Duration::from_secs(pause)).await;
            assert!(cache.get(server.fetch()).await.is_err());
            assert_eq!(server.requests(), requests);
        }
        cache.retry().await;
        assert!(cache.get(server.fetch()).await.is_err());
        assert_eq!(server.requests(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_responds_is_asked_again() {
        let (cache, server) = (DirectoryCache::default(), Failing::after(0));
        for requests in 1..4 {
            sleep(Duration::from_millis(1)).await;
            assert!(cache.get(server.fetch()).await.is_err());
            assert_eq!(server.requests(), requests);
        }
        let directory = serde_json::json!({ "newNonce": "n", "newAccount": "a", "newOrder": "o" });
        let directory = Arc::new(serde_json::from_value(directory).expect("a directory"));
        sleep(Duration::from_millis(1)).await;
        assert!(cache.get(async { Ok(directory) }).await.is_ok());
        sleep(LIFETIME).await;
        for _ in 0..2 {
            sleep(Duration::from_mins(10)).await;
            assert!(cache.get(server.fetch()).await.is_ok(), "the last one");
            assert_eq!(server.requests(), 4);
        }
    }
}
