//! The HTTP-01 self-check: requests the token like the CA will (RFC 8555 section 8.3), before the challenge is
//! submitted, because CAs limit failed validations. Response bodies are compared and never shown or logged. Must not
//! decide what a result means. Next: `decision/challenge.rs`.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use crds::{
    acme::ChallengeSpec,
    http01::{self, SOLVER_PORT},
};
use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode, Uri,
    header::{HOST, LOCATION, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, capture_connection},
    },
    rt::TokioExecutor,
};
use rustls::ClientConfig;
use tokio::time::{Instant, error::Elapsed, timeout_at};

use crate::{
    decision::{
        challenge::ProbeResult,
        fair_queue::{Lane, Slots},
    },
    error_chain::ErrorChain,
    fair_slots::FairSlots,
    net::{FilteringResolver, MAX_LOOKUPS, NameServers, Trust, is_forbidden, tls_config},
};

/// The maximum duration of one probe, including redirects.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many challenges are probed over several connections at the same time. These have less than a tenth of a second each, as a rule.
pub const MAX_BURSTS: usize = 8;

/// The maximum number of redirects, as in Boulder.
const MAX_REDIRECTS: usize = 10;

/// The maximum size of a response body, bytes. A key authorization has about 90.
const MAX_BODY_BYTES: usize = 512;

/// The User-Agent header.
const CLIENT: &str = concat!("acme-operator/", env!("CARGO_PKG_VERSION"), " (self-check)");

type Http = Client<HttpsConnector<HttpConnector<FilteringResolver>>, Empty<Bytes>>;

/// Probes challenges.
pub struct SelfCheck {
    tls: ClientConfig,
    lookups: FairSlots,
    bursts: FairSlots,
    name_servers: NameServers,
}

impl SelfCheck {
    /// Accepts any certificate behind a redirect, because CAs do. Asks the name servers for names, or the system resolver if there are
    /// none.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(name_servers: NameServers) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: tls_config(&Trust::AnyCertificate)?,
            lookups: FairSlots::new(Slots::few(MAX_LOOKUPS)),
            bursts: FairSlots::new(Slots::few(MAX_BURSTS)),
            name_servers,
        })
    }

    /// A client for one probe: a connection is never used again, because it might lead to a server that the name no longer resolves to.
    /// Namespaces take turns in looking up names, which belong to tenants and whose servers may not respond.
    fn client(&self, namespace: &str) -> Http {
        let mut connector = HttpConnector::new_with_resolver(FilteringResolver {
            lookups: self.lookups.clone(),
            namespace: Some(namespace.to_owned()),
            allow_loopback: false,
            name_servers: self.name_servers.clone(),
        });
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(DEADLINE / 4));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)
    }

    /// Requests the token of a Challenge in a namespace by its DNS name, like the CA will.
    pub async fn probe_route(&self, namespace: &str, challenge: &ChallengeSpec) -> ProbeResult {
        let ChallengeSpec { dns_name: host, token, key, .. } = challenge;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let url = format!("http://{host}{}", http01::path(token));
        probe(&self.client(namespace), url, None, key).await
    }

    /// Does the same so many times at once, over a connection each. Namespaces take turns, because all challenges may get here together:
    /// some ingress controllers begin to serve many routes at the same time.
    pub async fn probe_replicas(
        &self,
        namespace: &str,
        challenge: &ChallengeSpec,
        connections: usize,
    ) -> Vec<ProbeResult> {
        let _permit = self.bursts.acquire(Lane { namespace: namespace.to_owned(), server: None }).await;
        join_all((0..connections).map(|_| self.probe_route(namespace, challenge))).await
    }

    /// Requests the token of a Challenge in a namespace from a solver Pod directly.
    pub async fn probe_solver(
        &self,
        namespace: &str,
        challenge: &ChallengeSpec,
        solver: SocketAddr,
    ) -> ProbeResult {
        let ChallengeSpec { dns_name: host, token, key, .. } = challenge;
        let url = format!("http://{solver}{}", http01::path(token));
        probe(&self.client(namespace), url, Some(host), key).await
    }
}

async fn probe(http: &Http, url: String, host: Option<&str>, key_authorization: &str) -> ProbeResult {
    let mut last = url.clone();
    let deadline = Instant::now() + DEADLINE;
    let result = follow_redirects(http, &mut last, host, key_authorization, deadline).await;
    without_details_of_others(result, &url, &last)
}

/// Requests a URL, and replaces it with the target of each redirect.
async fn follow_redirects(
    http: &Http,
    url: &mut String,
    host: Option<&str>,
    key_authorization: &str,
    deadline: Instant,
) -> ProbeResult {
    for _ in 0..=MAX_REDIRECTS {
        let uri: Uri = match url.parse() {
            Ok(uri) if is_allowed(&uri) || host.is_some() => uri,
            _ => {
                return ProbeResult::WrongAnswer(
                    "a redirect leads to a URL that CAs do not follow. Redirect to port 80 or 443 of a public address"
                        .to_owned(),
                );
            }
        };
        let mut request = Request::get(&uri).header(USER_AGENT, CLIENT);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        let Ok(mut request) = request.body(Empty::new()) else {
            return ProbeResult::WrongAnswer("the DNS name is not valid in an HTTP request".to_owned());
        };
        let connection = capture_connection(&mut request);
        let response = match timeout_at(deadline, http.request(request)).await {
            Ok(Ok(response)) => response,
            Err(_) if connection.connection_metadata().is_some() => {
                return ProbeResult::WrongAnswer(silent(&uri, host.is_some()));
            }
            Err(_) => return ProbeResult::Unreachable(no_response()),
            Ok(Err(error)) => {
                return ProbeResult::Unreachable(format!(
                    "failed to reach {}: {}. Check that the DNS record of the name leads to the ingress controller, and that \
                     NetworkPolicies let the operator reach it",
                    origin(&uri),
                    unreachable(&error)
                ));
            }
        };
        let (parts, body) = response.into_parts();
        if parts.status.is_redirection() {
            let location = parts.headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let Some(next) = location.and_then(|location| resolve(&uri, location)) else {
                return ProbeResult::WrongAnswer(format!(
                    "{} redirects without a valid Location header",
                    origin(&uri)
                ));
            };
            *url = next;
            continue;
        }
        if parts.status != StatusCode::OK {
            let status = parts.status.as_u16();
            let hint = if parts.status.is_server_error() {
                "a server behind the name fails. Check what answers for the name"
            } else {
                NO_ROUTE
            };
            return ProbeResult::WrongAnswer(format!(
                "{} responds with status {status}: {hint}",
                origin(&uri)
            ));
        }
        let body = match timeout_at(deadline, Limited::new(body, MAX_BODY_BYTES).collect()).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return ProbeResult::WrongAnswer(unexpected_body(&uri)),
            Err(_) => return ProbeResult::WrongAnswer(silent(&uri, host.is_some())),
        };
        if body.to_bytes().trim_ascii() == key_authorization.as_bytes() {
            return ProbeResult::Reachable;
        }
        return ProbeResult::WrongAnswer(unexpected_body(&uri));
    }
    ProbeResult::WrongAnswer(format!("more than {MAX_REDIRECTS} redirects"))
}

/// The result with one text for whatever happened at another host than the requested one: who controls a name and reads its
/// Challenge must not find out by redirects what there is in the operator's network.
fn without_details_of_others(result: ProbeResult, requested: &str, last: &str) -> ProbeResult {
    let host = |url: &str| url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_lowercase));
    if host(requested) == host(last) {
        return result;
    }
    let text = || {
        let target =
            last.parse::<Uri>().map_or_else(|_| "a URL that is not valid".to_owned(), |uri| origin(&uri));
        format!(
            "the name redirects to {target}, which does not respond with the token. Let the ingress controller serve \
             /.well-known/acme-challenge/ of the name without a redirect to another host, to a port other than 80 and 443, or to an \
             address that is not public"
        )
    };
    match result {
        ProbeResult::Reachable => ProbeResult::Reachable,
        ProbeResult::WrongAnswer(_) => ProbeResult::WrongAnswer(text()),
        ProbeResult::Unreachable(_) => ProbeResult::Unreachable(text()),
    }
}

/// Why no server was reached, in few words: the same for each attempt, whatever the system calls it.
fn unreachable(error: &(dyn Error + 'static)) -> String {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused => "the connection is refused".to_owned(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
                    "the connection is closed".to_owned()
                }
                io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => "its address does not respond".to_owned(),
                _ => ErrorChain(error).to_string(),
            };
        }
        if error.is::<Elapsed>() {
            return "its address does not respond".to_owned();
        }
        cause = error.source();
    }
    ErrorChain(error).to_string()
}

/// What a server says that does not know the path. Its end is completed with the class.
pub const NO_ROUTE: &str = "the ingress controller does not route to the solver yet. If this lasts, check the ingress class of the issuer's solver";

fn no_response() -> String {
    format!(
        "no response within {} s. Check that the DNS record of the name leads to the ingress controller, and that NetworkPolicies let \
         the operator reach it",
        DEADLINE.as_secs()
    )
}

/// What is wrong with a server that accepts a connection, and does not respond in time: most ingress controllers wait for a server
/// behind them. `is_solver` is whether it is a Pod of the solver itself.
fn silent(uri: &Uri, is_solver: bool) -> String {
    let (origin, seconds) = (origin(uri), DEADLINE.as_secs());
    if is_solver {
        return format!("{origin} accepts connections, but does not respond within {seconds} s");
    }
    format!(
        "{origin} accepts connections, but does not respond within {seconds} s. Check that NetworkPolicies let the ingress controller reach \
         the Pods of the http01-solver at port {SOLVER_PORT}: its own egress, and networkPolicy.solverIngressFrom of the operator's chart"
    )
}

/// Whether a CA would request a URL.
fn is_allowed(uri: &Uri) -> bool {
    let port = match uri.scheme_str() {
        Some("http") => uri.port_u16().unwrap_or(80),
        Some("https") => uri.port_u16().unwrap_or(443),
        _ => return false,
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    // Host names are checked when they are resolved.
    matches!(port, 80 | 443) && !host.parse().is_ok_and(|address| is_forbidden(address, false))
}

/// The scheme and authority of a URL, for messages, which must not contain the token.
fn origin(uri: &Uri) -> String {
    format!(
        "{}://{}",
        uri.scheme_str().unwrap_or("http"),
        uri.authority().map_or("", |authority| authority.as_str())
    )
}

fn unexpected_body(uri: &Uri) -> String {
    format!(
        "{} responds with an unexpected body: another server handles the request. Check the DNS record of the name, and proxies in \
         front of the ingress controller",
        origin(uri)
    )
}

/// Resolves the `Location` header of a redirect: an absolute URL or an absolute path.
fn resolve(base: &Uri, location: &str) -> Option<String> {
    if location.contains("://") {
        return Some(location.to_owned());
    }
    location.starts_with('/').then(|| format!("{}{location}", origin(base)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_a_ca_requests_are_allowed() {
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
    fn failures_of_redirects_look_the_same() {
        let at = |last: &str, why: &str| {
            let result = ProbeResult::WrongAnswer(why.to_owned());
            match without_details_of_others(result, "http://a.test/x", last) {
                ProbeResult::WrongAnswer(text) => text,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(at("http://b.test/x", "status 404"), at("http://b.test/y", "an unexpected body"));
        assert!(at("http://b.test/x", "status 404").contains("redirects to http://b.test, which"));
        assert_eq!(at("https://A.test/x", "status 404"), "status 404");
        let reached = without_details_of_others(ProbeResult::Reachable, "http://a.test/x", "http://b.test/x");
        assert_eq!(reached, ProbeResult::Reachable);
        let unreachable = ProbeResult::Unreachable("the connection is refused".to_owned());
        let text = at("http://10.0.0.1/", "status 404");
        assert_eq!(
            without_details_of_others(unreachable, "http://a.test/x", "http://10.0.0.1/"),
            ProbeResult::Unreachable(text)
        );
    }

    #[test]
    fn redirect_may_be_an_absolute_path() {
        let base = "http://a.test/x".parse().expect("a URL");
        assert_eq!(resolve(&base, "/y").as_deref(), Some("http://a.test/y"));
        assert_eq!(resolve(&base, "https://b.test/y").as_deref(), Some("https://b.test/y"));
        assert_eq!(resolve(&base, "y"), None);
    }
}
