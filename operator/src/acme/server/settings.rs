//! How a server is talked to.

use std::{fmt, sync::Arc, time::Duration};

use hyper::{Method, StatusCode};

use crate::{
    clock::{Clock, SystemClock},
    net::Trust,
};

/// A request that was made, for metrics.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// What was asked.
    pub url: &'a str,
    /// How.
    pub method: &'a Method,
    /// What came back; `None` if nothing did.
    pub status: Option<StatusCode>,
    /// How long it took.
    pub latency: Duration,
}

/// What sees every request.
pub type Observer = Arc<dyn Fn(&Observation<'_>) + Send + Sync>;

/// How a server is talked to.
#[derive(Clone)]
pub struct ServerSettings {
    /// URL of the directory.
    pub directory_url: String,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Whether the server may be on this machine, as in tests.
    pub allow_loopback: bool,
    /// How long one request may take, its connection and its answer included.
    pub deadline: Duration,
    /// How many requests there may be at once.
    pub concurrency: usize,
    /// How many requests a second there may be for long; twice as many at once.
    pub requests_per_second: f64,
    /// The same for one account.
    pub requests_per_second_per_account: f64,
    /// How many times a second it may be asked when to renew (RFC 9773); a tenth of that at once.
    pub renewal_info_per_second: f64,
    /// How many bytes of an answer are looked at.
    pub response_limit: usize,
    /// The time that a `Retry-After` date is compared with if the response has no `Date`.
    pub clock: Arc<dyn Clock>,
    /// What sees every request.
    pub observer: Option<Observer>,
}

impl fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSettings").field("directory_url", &self.directory_url).finish_non_exhaustive()
    }
}

impl ServerSettings {
    /// What suits every known server: 30 s, eight requests at once, 100 a second, 1 MiB. Let's Encrypt takes 250 a second,
    /// and another 1000 that ask when to renew.
    pub fn new(directory_url: impl Into<String>) -> Self {
        Self {
            directory_url: directory_url.into(),
            trust: Trust::default(),
            allow_loopback: false,
            deadline: Duration::from_secs(30),
            concurrency: 8,
            requests_per_second: 100.0,
            requests_per_second_per_account: 100.0,
            renewal_info_per_second: 500.0,
            response_limit: 1 << 20,
            clock: Arc::new(SystemClock),
            observer: None,
        }
    }
}
