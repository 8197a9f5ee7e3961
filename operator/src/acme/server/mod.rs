//! One ACME server: connections, deadlines, nonces, and rate limits, shared by all accounts at that server. Must not
//! know account keys. Next: `settings.rs` for the limits, `session.rs` for signed requests.

mod directory_cache;
mod headers;
mod rate_limiter;
mod settings;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use crds::condition::one_line;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, LOCATION, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::time::{Instant, sleep, timeout};

pub use self::headers::MAX_ALTERNATES;
pub use self::settings::{Observation, Observer, ServerSettings};
use self::{
    directory_cache::DirectoryCache,
    headers::{alternates, header_text, retry_after},
    rate_limiter::RateLimiter,
};
use super::{
    AcmeError, AcmeResponse, Action, Directory, Phase,
    session::{CONNECT_PAUSE, MAX_CONNECT_TRIES},
};
use crate::{
    decision::fair_queue::{Lane, Slots},
    error_chain::ErrorChain,
    fair_slots::{FairSlots, Permit},
    fence,
    net::{Connector, FilteringResolver, NO_ALLOWED_ADDRESS, NameServers, is_forbidden, tls_config},
    sync::lock,
};

/// How many unused nonces are kept: more than the number of concurrent requests.
const MAX_NONCES: usize = 64;

/// How many concurrent requests are for one namespace while others send requests, too.
const CONTENDED: usize = 3;

/// How many accounts have a rate limit of their own, before those without a waiting request are forgotten.
const MAX_LIMITED_ACCOUNTS: usize = 1000;

/// The longest URL of a resource, in bytes: as long as the status of an Order can hold.
pub const MAX_URL_LENGTH: usize = 2048;

/// The User-Agent header, which RFC 8555 section 6.1 requires.
const CLIENT: &str = concat!("acme-operator/", env!("CARGO_PKG_VERSION"));

/// The content type of signed requests, RFC 8555 section 6.2.
const JOSE: &str = "application/jose+json";

/// A client of one ACME server.
pub struct Server {
    settings: ServerSettings,
    http: Client<HttpsConnector<Connector>, Full<Bytes>>,
    directory: DirectoryCache,
    nonces: Mutex<VecDeque<String>>,
    concurrent_requests: FairSlots,
    limiter: RateLimiter,
    renewal_info_limiter: RateLimiter,
    account_limiters: Mutex<HashMap<String, Arc<RateLimiter>>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.settings.directory_url).finish()
    }
}

impl Server {
    /// Returns a client that has not sent a request yet.
    ///
    /// # Errors
    /// A trusted root is not a valid certificate.
    pub fn new(settings: ServerSettings) -> Result<Self, rustls::Error> {
        let resolver = FilteringResolver {
            lookups: settings.lookups.clone(),
            namespace: None,
            allow_loopback: settings.allow_loopback,
            name_servers: NameServers::default(),
        };
        let connector = Connector::new(settings.proxy.clone(), resolver, settings.deadline / 3);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(&settings.trust)?)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            directory: DirectoryCache::default(),
            nonces: Mutex::default(),
            concurrent_requests: FairSlots::new(Slots::unshared(settings.concurrency).contended(CONTENDED)),
            limiter: RateLimiter::new(settings.requests_per_second),
            renewal_info_limiter: RateLimiter::with_burst(
                settings.renewal_info_per_second,
                settings.renewal_info_per_second / 10.0,
            ),
            account_limiters: Mutex::default(),
            settings,
        })
    }

    /// The URL of the directory.
    pub fn directory_url(&self) -> &str {
        &self.settings.directory_url
    }

    /// Returns the directory. It is fetched on first use and then once a day; if that fails, the last one is used. A
    /// failure is shared by all that wait for it.
    ///
    /// # Errors
    /// The URL does not return a directory, or the server is unreachable.
    pub async fn directory(&self) -> Result<Arc<Directory>, AcmeError> {
        self.directory.get(self.fetch_directory()).await
    }

    /// Lets the next use fetch the directory, even if that has just failed.
    pub async fn retry_directory(&self) {
        self.directory.retry().await;
    }

    /// Rejects the URL of a resource that this server can't have: responses must not make the operator send requests to
    /// other servers.
    pub(super) async fn check_resource(&self, url: &str) -> Result<(), AcmeError> {
        let directory_url = self.directory_url();
        if url.len() <= MAX_URL_LENGTH && self.directory().await?.covers(directory_url, url) {
            return Ok(());
        }
        Err(AcmeError::Protocol {
            url: directory_url.to_owned(),
            status: StatusCode::BAD_REQUEST,
            retry_after: None,
            detail: format!(
                "the ACME server names a resource {:?}, which is not an https URL of at most {MAX_URL_LENGTH} characters \
                 at a host and port that its directory names. Have the CA correct this, or use another CA",
                one_line(url, 200)
            ),
        })
    }

    async fn fetch_directory(&self) -> Result<Arc<Directory>, AcmeError> {
        let url = &self.settings.directory_url;
        let response = Action::Discover.label(self.read(Method::GET, url)).await?;
        let response = response.into_result().map_err(|error| match error {
            AcmeError::Protocol { url, status, retry_after, detail }
                if status.is_client_error() || status.is_redirection() =>
            {
                AcmeError::Protocol {
                    url,
                    status,
                    retry_after,
                    detail: format!("{detail}. Check spec.acme.server"),
                }
            }
            other => other,
        })?;
        serde_json::from_slice(&response.body).map(Arc::new).map_err(|_| AcmeError::Protocol {
            url: url.clone(),
            // Not the status of the response: a page that is not a directory is a permanent error, even with status
            // 200.
            status: StatusCode::NOT_FOUND,
            retry_after: None,
            detail: "the response is not an ACME directory. Check spec.acme.server".to_owned(),
        })
    }

    /// Returns an unused nonce, from an earlier response or from the server.
    pub(super) async fn nonce(&self) -> Result<String, AcmeError> {
        let stored = lock(&self.nonces).pop_front();
        if let Some(nonce) = stored {
            return Ok(nonce);
        }
        let url = self.directory().await?.new_nonce.clone();
        let response = Action::GetNonce.label(self.read(Method::HEAD, &url)).await?;
        response.nonce.clone().ok_or_else(|| response.protocol_error("the Replay-Nonce header is missing"))
    }

    /// Stores a nonce for a later request.
    pub(super) fn store_nonce(&self, nonce: String) {
        let mut nonces = lock(&self.nonces);
        if nonces.len() < MAX_NONCES {
            nonces.push_back(nonce);
        }
    }

    /// Waits until the rate limits allow one more request for an object in a namespace, in total and for the account.
    /// Namespaces take turns. The permit must be held until the request is done, which includes fetching its nonce.
    pub(super) async fn permit(&self, account_url: Option<&str>, namespace: &str) -> Permit {
        let lane = Lane { namespace: namespace.to_owned(), server: None };
        let permit = self.concurrent_requests.acquire(lane).await;
        if let Some(account_url) = account_url {
            self.account_limiter(account_url).acquire().await;
        }
        self.limiter.acquire().await;
        permit
    }

    fn account_limiter(&self, account_url: &str) -> Arc<RateLimiter> {
        let mut limiters = lock(&self.account_limiters);
        if limiters.len() >= MAX_LIMITED_ACCOUNTS && !limiters.contains_key(account_url) {
            limiters.retain(|_, limiter| Arc::strong_count(limiter) > 1);
        }
        let rate = self.settings.requests_per_second_per_account;
        let limiter =
            limiters.entry(account_url.to_owned()).or_insert_with(|| Arc::new(RateLimiter::new(rate)));
        Arc::clone(limiter)
    }

    /// Sends an unsigned GET, which only renewal information uses (RFC 9773 section 4.1), within its own rate limit.
    pub(super) async fn get_unsigned(&self, url: &str) -> Result<AcmeResponse, AcmeError> {
        self.renewal_info_limiter.acquire().await;
        self.read(Method::GET, url).await
    }

    /// Sends a request that only reads, and resends it if there was no response.
    pub(super) async fn read(&self, method: Method, url: &str) -> Result<AcmeResponse, AcmeError> {
        for pause in 1..MAX_CONNECT_TRIES {
            match self.send(method.clone(), url, None).await {
                Err(error) if error.may_resend(true) => sleep(CONNECT_PAUSE * pause).await,
                outcome => return outcome,
            }
        }
        self.send(method, url, None).await
    }

    /// Sends a request and reads the whole response, within the deadline.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<Vec<u8>>,
    ) -> Result<AcmeResponse, AcmeError> {
        let began = Instant::now();
        let outcome = match timeout(self.settings.deadline, self.exchange(&method, url, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(AcmeError::Unreachable {
                url: url.to_owned(),
                detail: format!("no response within {} s", self.settings.deadline.as_secs_f64()),
                phase: Phase::TimedOut,
            }),
        };
        if let Some(observer) = &self.settings.observer {
            let status = outcome.as_ref().ok().map(|response| response.status);
            let (directory, latency) = (&*self.settings.directory_url, began.elapsed());
            observer(&Observation {
                url,
                directory,
                action: Action::current(),
                method: &method,
                status,
                latency,
            });
        }
        outcome
    }

    async fn exchange(
        &self,
        method: &Method,
        url: &str,
        body: Option<Vec<u8>>,
    ) -> Result<AcmeResponse, AcmeError> {
        let unreachable =
            |detail: String, phase: Phase| AcmeError::Unreachable { url: url.to_owned(), detail, phase };
        let uri = self.check_url(url)?;
        let mut request = Request::builder().method(method).uri(uri).header(USER_AGENT, CLIENT);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, JOSE);
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|error| unreachable(ErrorChain(&error).to_string(), Phase::Connecting))?;
        let response = fence::guard(self.http.request(request)).await.map_err(|error| {
            let detail = ErrorChain(&error).to_string();
            if detail.contains(NO_ALLOWED_ADDRESS) {
                AcmeError::Address { url: url.to_owned(), address: uri_host(url) }
            } else {
                let phase = if error.is_connect() { Phase::Connecting } else { Phase::Lost };
                unreachable(detail, phase)
            }
        })?;
        let (parts, body) = response.into_parts();
        let body = match Limited::new(body, self.settings.response_limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(AcmeError::Protocol {
                    url: url.to_owned(),
                    status: StatusCode::PAYLOAD_TOO_LARGE,
                    retry_after: None,
                    detail: format!("the response is larger than {} bytes", self.settings.response_limit),
                });
            }
            Err(error) => return Err(unreachable(ErrorChain(&*error).to_string(), Phase::Lost)),
        };
        Ok(AcmeResponse {
            url: url.to_owned(),
            status: parts.status,
            body,
            location: header_text(&parts.headers, LOCATION.as_str()),
            nonce: header_text(&parts.headers, "replay-nonce"),
            retry_after: retry_after(&parts.headers, self.settings.clock.now()),
            alternates: alternates(&parts.headers),
            content_type: header_text(&parts.headers, CONTENT_TYPE.as_str()),
        })
    }

    /// Parses a URL and rejects it if it is not HTTPS or names a forbidden address. Host names are checked when they
    /// are resolved.
    fn check_url(&self, url: &str) -> Result<Uri, AcmeError> {
        let rejected = |detail: &str| AcmeError::Protocol {
            url: url.to_owned(),
            status: StatusCode::BAD_REQUEST,
            retry_after: None,
            detail: detail.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| rejected("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(rejected("it is not an HTTPS URL (RFC 8555 section 6.1)"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        if let Ok(address) = host.parse::<IpAddr>()
            && is_forbidden(address, self.settings.allow_loopback)
        {
            return Err(AcmeError::Address { url: url.to_owned(), address: address.to_string() });
        }
        Ok(uri)
    }
}

fn uri_host(url: &str) -> String {
    url.parse::<Uri>().ok().and_then(|uri| uri.host().map(ToOwned::to_owned)).unwrap_or_default()
}
