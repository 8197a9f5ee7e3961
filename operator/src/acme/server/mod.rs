//! One ACME server: connections, deadlines, nonces and limits, shared by all accounts there.

mod headers;
mod rate_limiter;
mod settings;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, LOCATION, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

pub use self::settings::{Observation, Observer, ServerSettings};
use self::{
    headers::{alternates, retry_after, text},
    rate_limiter::RateLimiter,
};
use super::{
    AcmeError, AcmeResponse, Directory, Phase,
    session::{REACH_PAUSE, REACH_TRIES},
};
use crate::{
    error_chain::ErrorChain,
    net::{FilteringResolver, NO_ALLOWED_ADDRESS, is_forbidden, tls_config},
    sync::lock,
};

/// How many nonces are kept: more than there are requests at once.
const NONCES_KEPT: usize = 64;

/// How long a directory is believed.
const DIRECTORY_LIFETIME: Duration = Duration::from_hours(24);

/// What we call ourselves to servers, RFC 8555 section 6.1.
const CLIENT: &str = concat!("acme-operator/", env!("CARGO_PKG_VERSION"));

/// What a request's body is, RFC 8555 section 6.2.
const JOSE: &str = "application/jose+json";

/// An ACME server.
pub struct Server {
    settings: ServerSettings,
    http: Client<HttpsConnector<HttpConnector<FilteringResolver>>, Full<Bytes>>,
    directory: tokio::sync::Mutex<Option<(Instant, Arc<Directory>)>>,
    nonces: Mutex<VecDeque<String>>,
    concurrent_requests: Semaphore,
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
    /// Prepares to talk to a server; asks nothing yet.
    ///
    /// # Errors
    /// A root that is trusted is no certificate.
    pub fn new(settings: ServerSettings) -> Result<Self, rustls::Error> {
        let mut connector = HttpConnector::new_with_resolver(FilteringResolver::new(settings.allow_loopback));
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(settings.deadline / 3));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(&settings.trust)?)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            directory: tokio::sync::Mutex::default(),
            nonces: Mutex::default(),
            concurrent_requests: Semaphore::new(settings.concurrency),
            limiter: RateLimiter::new(settings.requests_per_second),
            renewal_info_limiter: RateLimiter::with_burst(
                settings.renewal_info_per_second,
                settings.renewal_info_per_second / 10.0,
            ),
            account_limiters: Mutex::default(),
            settings,
        })
    }

    /// URL of the directory.
    pub fn directory_url(&self) -> &str {
        &self.settings.directory_url
    }

    /// The directory, fetched at the first use and once a day; an old one serves while a new one can't be had.
    ///
    /// # Errors
    /// There is none at the URL, or it can't be had now.
    pub async fn directory(&self) -> Result<Arc<Directory>, AcmeError> {
        let mut kept = self.directory.lock().await;
        if let Some((fetched, directory)) = &*kept
            && fetched.elapsed() < DIRECTORY_LIFETIME
        {
            return Ok(Arc::clone(directory));
        }
        match (self.fetch_directory().await, &*kept) {
            (Ok(directory), _) => {
                *kept = Some((Instant::now(), Arc::clone(&directory)));
                Ok(directory)
            }
            (Err(_), Some((_, old))) => Ok(Arc::clone(old)),
            (Err(error), None) => Err(error),
        }
    }

    async fn fetch_directory(&self) -> Result<Arc<Directory>, AcmeError> {
        let url = &self.settings.directory_url;
        let response = self.read(Method::GET, url).await?;
        let response = response.into_result().map_err(|error| match error {
            AcmeError::Protocol { url, status, retry_after, detail } if status.is_client_error() => {
                AcmeError::Protocol {
                    url,
                    status,
                    retry_after,
                    detail: format!("{detail}: check spec.acme.server"),
                }
            }
            other => other,
        })?;
        serde_json::from_slice(&response.body).map(Arc::new).map_err(|_| AcmeError::Protocol {
            url: url.clone(),
            // Not the answer's own status: a page that is there and is no directory stays so.
            status: StatusCode::NOT_FOUND,
            retry_after: None,
            detail: "it is no directory of an ACME server: check spec.acme.server".to_owned(),
        })
    }

    /// A nonce that nobody has used.
    pub(super) async fn nonce(&self) -> Result<String, AcmeError> {
        let kept = lock(&self.nonces).pop_front();
        if let Some(nonce) = kept {
            return Ok(nonce);
        }
        let url = self.directory().await?.new_nonce.clone();
        let response = self.read(Method::HEAD, &url).await?;
        response.nonce.clone().ok_or_else(|| response.protocol_error("it gives no nonce"))
    }

    /// Keeps a nonce for the next request.
    pub(super) fn store_nonce(&self, nonce: String) {
        let mut nonces = lock(&self.nonces);
        if nonces.len() < NONCES_KEPT {
            nonces.push_back(nonce);
        }
    }

    /// Waits until one more request may be made, by this account; the permit lasts as long as the request, its nonce
    /// included.
    pub(super) async fn permit(&self, account_url: Option<&str>) -> Option<tokio::sync::SemaphorePermit<'_>> {
        if let Some(account_url) = account_url {
            let rate = self.settings.requests_per_second_per_account;
            let bucket = Arc::clone(
                lock(&self.account_limiters)
                    .entry(account_url.to_owned())
                    .or_insert_with(|| Arc::new(RateLimiter::new(rate))),
            );
            bucket.acquire().await;
        }
        // It is never closed.
        let permit = self.concurrent_requests.acquire().await.ok();
        self.limiter.acquire().await;
        permit
    }

    /// Asks when to renew, once that may be asked once more: no account and no nonce is needed for it (RFC 9773 section 4.1).
    pub(super) async fn get_unsigned(&self, url: &str) -> Result<AcmeResponse, AcmeError> {
        self.renewal_info_limiter.acquire().await;
        self.read(Method::GET, url).await
    }

    /// Sends a request that changes nothing, again where the server can't be reached.
    pub(super) async fn read(&self, method: Method, url: &str) -> Result<AcmeResponse, AcmeError> {
        for pause in 1..REACH_TRIES {
            match self.send(method.clone(), url, None).await {
                Err(error) if error.may_repeat(true) => sleep(REACH_PAUSE * pause).await,
                answered => return answered,
            }
        }
        self.send(method, url, None).await
    }

    /// Sends a request, and reads the whole answer, within the deadline.
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
                detail: format!("no answer within {} s", self.settings.deadline.as_secs_f64()),
                phase: Phase::TimedOut,
            }),
        };
        if let Some(observer) = &self.settings.observer {
            let status = outcome.as_ref().ok().map(|response| response.status);
            observer(&Observation { url, method: &method, status, latency: began.elapsed() });
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
        let response = self.http.request(request).await.map_err(|error| {
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
                    detail: format!("its answer has more than {} bytes", self.settings.response_limit),
                });
            }
            Err(error) => return Err(unreachable(ErrorChain(&*error).to_string(), Phase::Lost)),
        };
        Ok(AcmeResponse {
            url: url.to_owned(),
            status: parts.status,
            body,
            location: text(&parts.headers, LOCATION.as_str()),
            nonce: text(&parts.headers, "replay-nonce"),
            retry_after: retry_after(&parts.headers, self.settings.clock.now()),
            alternates: alternates(&parts.headers),
            content_type: text(&parts.headers, CONTENT_TYPE.as_str()),
        })
    }

    /// A URL that may be asked. Names are looked at when they are resolved.
    fn check_url(&self, url: &str) -> Result<Uri, AcmeError> {
        let refused = |detail: &str| AcmeError::Protocol {
            url: url.to_owned(),
            status: StatusCode::BAD_REQUEST,
            retry_after: None,
            detail: detail.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| refused("it is no URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(refused("it is no https URL, which ACME servers have (RFC 8555 section 6.1)"));
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
