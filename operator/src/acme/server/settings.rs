//! How the operator talks to an ACME server: trust, deadlines, and limits.

use std::{fmt, sync::Arc, time::Duration};

use hyper::{Method, StatusCode};

use crate::{
    acme::Action,
    clock::{Clock, SystemClock},
    decision::fair_queue::Slots,
    fair_slots::FairSlots,
    net::{MAX_LOOKUPS, Proxy, Trust},
};

/// A finished HTTP request, for metrics.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// The requested URL.
    pub url: &'a str,
    /// The URL of the server's directory, as the issuer names it.
    pub directory: &'a str,
    /// What the request is for.
    pub action: Action,
    /// The HTTP method.
    pub method: &'a Method,
    /// The HTTP status, or `None` if there was no response.
    pub status: Option<StatusCode>,
    /// The time from sending the request to the end of the response.
    pub latency: Duration,
}

/// A callback that receives every request.
pub type Observer = Arc<dyn Fn(&Observation<'_>) + Send + Sync>;

/// Settings of one ACME server.
#[derive(Clone)]
pub struct ServerSettings {
    /// The URL of the directory.
    pub directory_url: String,
    /// Which server certificates are trusted.
    pub trust: Trust,
    /// The proxy for connections to the server. It resolves the names, so only addresses in URLs are checked.
    pub proxy: Proxy,
    /// Whether the server may be on a loopback address, as in tests.
    pub allow_loopback: bool,
    /// The maximum duration of one request, from connecting to the end of the response.
    pub deadline: Duration,
    /// The maximum number of concurrent requests.
    pub concurrency: usize,
    /// The sustained requests per second. Bursts may be twice as large.
    pub requests_per_second: f64,
    /// The same limit for each account.
    pub requests_per_second_per_account: f64,
    /// The sustained requests per second for renewal information (RFC 9773). Bursts may be a tenth of that.
    pub renewal_info_per_second: f64,
    /// The concurrent lookups of names, which may be shared with other servers. Each lookup occupies a thread.
    pub lookups: FairSlots,
    /// The maximum size of a response body, bytes.
    pub response_limit: usize,
    /// The time that a `Retry-After` date is compared with if the response has no `Date` header.
    pub clock: Arc<dyn Clock>,
    /// Receives every request.
    pub observer: Option<Observer>,
}

impl fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSettings").field("directory_url", &self.directory_url).finish_non_exhaustive()
    }
}

impl ServerSettings {
    /// Returns settings that suit every known server: 30 s, 8 concurrent requests, 100 requests per second, 1 MiB. For
    /// comparison, Let's Encrypt allows 250 requests per second, and another 1000 for renewal information.
    pub fn new(directory_url: impl Into<String>) -> Self {
        Self {
            directory_url: directory_url.into(),
            trust: Trust::default(),
            proxy: Proxy::default(),
            allow_loopback: false,
            deadline: Duration::from_secs(30),
            concurrency: 8,
            requests_per_second: 100.0,
            requests_per_second_per_account: 100.0,
            renewal_info_per_second: 500.0,
            lookups: FairSlots::new(Slots::few(MAX_LOOKUPS)),
            response_limit: 1 << 20,
            clock: Arc::new(SystemClock),
            observer: None,
        }
    }
}
