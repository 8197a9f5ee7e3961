//! A look at a challenge as the CA will look at it, before the CA is told (RFC 8555 section 8.3): a failed validation costs
//! one of a few tries. What others answer is compared, and never shown to anybody.

use std::{error::Error as StdError, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode, Uri,
    header::{HOST, LOCATION, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time::timeout;

use crate::{
    decision::challenge::ProbeResult,
    net::{FilteringResolver, Trust, is_forbidden, tls_config},
    objects::route,
};

/// How long one look may take, its redirects included.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many redirects are followed, as Boulder does.
const REDIRECTS: usize = 10;

/// How much of an answer is looked at, bytes: a key authorization has some ninety.
const LIMIT: usize = 512;

/// What we call ourselves.
const CLIENT: &str = concat!("acme-operator/", env!("CARGO_PKG_VERSION"), " (self-check)");

type Http = Client<HttpsConnector<HttpConnector<FilteringResolver>>, Empty<Bytes>>;

/// Looks at challenges.
#[derive(Clone)]
pub struct SelfCheck {
    http: Http,
}

impl SelfCheck {
    /// Asks nothing yet. The CA believes any certificate behind a redirect, so this does too.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new() -> Result<Self, rustls::Error> {
        let mut connector = HttpConnector::new_with_resolver(FilteringResolver::new(false));
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(DEADLINE / 4));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_config(&Trust::Anybody)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        // A connection that is kept may lead to where the name no longer does.
        let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { http })
    }

    /// Looks at a challenge the way that the CA will.
    pub async fn look(&self, host: &str, token: &str, key_authorization: &str) -> ProbeResult {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let url = format!("http://{host}{}", route::path(token));
        within(self.follow(url, None, key_authorization)).await
    }

    /// Asks one of the solver's Pods itself.
    pub async fn ask(
        &self,
        solver: SocketAddr,
        host: &str,
        token: &str,
        key_authorization: &str,
    ) -> ProbeResult {
        let url = format!("http://{solver}{}", route::path(token));
        within(self.follow(url, Some(host), key_authorization)).await
    }

    async fn follow(&self, url: String, host: Option<&str>, key_authorization: &str) -> ProbeResult {
        let mut url = url;
        for _ in 0..=REDIRECTS {
            let uri: Uri = match url.parse() {
                Ok(uri) if is_allowed(&uri) || host.is_some() => uri,
                _ => {
                    return ProbeResult::WrongAnswer(
                        "a redirect leads where no CA follows: only ports 80 and 443 count".to_owned(),
                    );
                }
            };
            let mut request = Request::get(&uri).header(USER_AGENT, CLIENT);
            if let Some(host) = host {
                request = request.header(HOST, host);
            }
            let Ok(request) = request.body(Empty::new()) else {
                return ProbeResult::WrongAnswer("the name can't stand in a request".to_owned());
            };
            let response = match self.http.request(request).await {
                Ok(response) => response,
                Err(error) => {
                    return ProbeResult::Unreachable(format!(
                        "failed to reach {}: {}",
                        origin(&uri),
                        chain(&error)
                    ));
                }
            };
            let (parts, body) = response.into_parts();
            if parts.status.is_redirection() {
                let location = parts.headers.get(LOCATION).and_then(|location| location.to_str().ok());
                let Some(next) = location.and_then(|location| resolve(&uri, location)) else {
                    return ProbeResult::WrongAnswer(format!("{} redirects to nowhere", origin(&uri)));
                };
                url = next;
                continue;
            }
            if parts.status != StatusCode::OK {
                return ProbeResult::WrongAnswer(format!(
                    "{} answers with status {}: the ingress controller does not lead to the solver yet",
                    origin(&uri),
                    parts.status.as_u16()
                ));
            }
            let Ok(body) = Limited::new(body, LIMIT).collect().await else {
                return ProbeResult::WrongAnswer(format!("{} answers with something else", origin(&uri)));
            };
            if body.to_bytes().trim_ascii() == key_authorization.as_bytes() {
                return ProbeResult::Reachable;
            }
            return ProbeResult::WrongAnswer(format!(
                "{} answers with something else: the name leads elsewhere",
                origin(&uri)
            ));
        }
        ProbeResult::WrongAnswer(format!("more than {REDIRECTS} redirects"))
    }
}

async fn within(look: impl Future<Output = ProbeResult>) -> ProbeResult {
    let late = || ProbeResult::Unreachable(format!("no answer within {} s", DEADLINE.as_secs()));
    timeout(DEADLINE, look).await.unwrap_or_else(|_| late())
}

/// Whether a CA would ask there.
fn is_allowed(uri: &Uri) -> bool {
    let port = match uri.scheme_str() {
        Some("http") => uri.port_u16().unwrap_or(80),
        Some("https") => uri.port_u16().unwrap_or(443),
        _ => return false,
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    // Names are looked at when they are resolved.
    matches!(port, 80 | 443) && !host.parse().is_ok_and(|address| is_forbidden(address, false))
}

/// Who was asked: without the token.
fn origin(uri: &Uri) -> String {
    format!(
        "{}://{}",
        uri.scheme_str().unwrap_or("http"),
        uri.authority().map_or("", |authority| authority.as_str())
    )
}

/// Where a redirect leads.
fn resolve(base: &Uri, location: &str) -> Option<String> {
    if location.contains("://") {
        return Some(location.to_owned());
    }
    location.starts_with('/').then(|| format!("{}{location}", origin(base)))
}

fn chain(error: &dyn StdError) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_a_ca_would_ask_is_asked() {
        for (url, allowed) in [
            ("http://a.test/x", true),
            ("https://a.test/x", true),
            ("http://a.test:80/x", true),
            ("http://a.test:8080/x", false),
            ("ftp://a.test/x", false),
            ("http://169.254.169.254/latest", false),
            ("http://127.0.0.1/x", false),
            ("https://[fe80::1]/x", false),
            ("http://192.0.2.1/x", true),
        ] {
            assert_eq!(is_allowed(&url.parse().expect("a URL")), allowed, "{url}");
        }
    }

    #[test]
    fn a_redirect_may_name_a_path_alone() {
        let base = "http://a.test/x".parse().expect("a URL");
        assert_eq!(resolve(&base, "/y").as_deref(), Some("http://a.test/y"));
        assert_eq!(resolve(&base, "https://b.test/y").as_deref(), Some("https://b.test/y"));
        assert_eq!(resolve(&base, "y"), None);
    }
}
