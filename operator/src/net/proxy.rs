//! The HTTP proxy of the environment, for connections to ACME servers. The API server, the solver, and the names of challenges are
//! always connected to directly. Next: `address.rs` for what may be connected to without a proxy.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::Uri;
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use thiserror::Error;
use tokio::net::TcpStream;
use tower::Service;

use super::FilteringResolver;

/// The port of a URL without one: ACME servers have https URLs.
const DEFAULT_PORT: u16 = 443;

/// Which proxy is used for which host. The default uses none.
#[derive(Clone, Debug, Default)]
pub struct Proxy(Option<Arc<Matchers>>);

#[derive(Debug)]
struct Matchers {
    /// For the ports that exceptions name: they have those without a port, too.
    by_port: BTreeMap<u16, Matcher>,
    /// For all other ports.
    others: Matcher,
}

/// The environment has a proxy that can't be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "the proxy of $HTTPS_PROXY or $ALL_PROXY has a URL that can't be used, with the scheme {scheme:?}. Only http is supported: \
     connections to ACME servers are encrypted inside of it. Set it to a URL such as http://proxy.example.com:3128"
)]
pub struct UnsupportedProxy {
    /// The scheme of the proxy's URL.
    scheme: String,
}

/// A connection through the proxy failed.
#[derive(Debug, Error)]
#[error("failed to connect through the proxy {proxy} of the environment")]
struct ThroughProxy {
    /// Its host and port, without credentials.
    proxy: String,
    source: Box<dyn Error + Send + Sync>,
}

impl Proxy {
    /// Returns the proxy that `$HTTPS_PROXY` or `$ALL_PROXY` names, except for the hosts in `$NO_PROXY`. Lowercase names count too.
    ///
    /// # Errors
    /// The proxy can't be used. The operator must not start: it would connect directly.
    pub fn from_environment() -> Result<Self, UnsupportedProxy> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let url = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter().find_map(variable);
        let except = ["NO_PROXY", "no_proxy"].into_iter().find_map(variable).unwrap_or_default();
        url.map_or_else(|| Ok(Self::default()), |url| Self::new(&url, &except))
    }

    /// Returns the proxy with a URL, except for a comma-separated list of hosts, domains, addresses, and networks. Each of them but a
    /// network may have a port.
    ///
    /// # Errors
    /// The proxy can't be used.
    pub fn new(url: &str, except: &str) -> Result<Self, UnsupportedProxy> {
        let (url, example) = (url.trim(), Uri::from_static("https://example.invalid/"));
        // Without exceptions: a URL that can't be parsed would mean no proxy at all.
        let used = Matcher::builder().https(url).build().intercept(&example);
        if used.is_none_or(|used| used.uri().scheme_str() != Some("http")) {
            let scheme = url.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
            return Err(UnsupportedProxy { scheme: scheme.chars().take(20).collect() });
        }
        let matcher = |except: &str| Matcher::builder().https(url).no(except.to_owned()).build();
        let mut without_port = String::new();
        let mut with_port = BTreeMap::<u16, String>::new();
        for entry in except.split(',').map(str::trim) {
            let (host, list) = match split_port(entry) {
                Some((host, port)) => (host, with_port.entry(port).or_default()),
                None => (entry, &mut without_port),
            };
            // The same for Go: a domain with all names below it.
            list.extend([host.strip_prefix('*').filter(|host| host.starts_with('.')).unwrap_or(host), ","]);
        }
        let by_port = with_port
            .iter()
            .map(|(port, hosts)| (*port, matcher(&format!("{without_port}{hosts}"))))
            .collect();
        Ok(Self(Some(Arc::new(Matchers { by_port, others: matcher(&without_port) }))))
    }

    fn of_host(&self, uri: &Uri) -> Option<Intercept> {
        let Matchers { by_port, others } = &**self.0.as_ref()?;
        by_port.get(&uri.port_u16().unwrap_or(DEFAULT_PORT)).unwrap_or(others).intercept(uri)
    }
}

/// The host and the port of an exception that has a port, such as `ca.example.com:8443` or `[2001:db8::1]:443`.
fn split_port(entry: &str) -> Option<(&str, u16)> {
    let (host, port) = entry.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // A bare IPv6 address has no port.
    let host = bare.or_else(|| (!host.contains(':')).then_some(host))?;
    Some((host, port.parse().ok()?))
}

/// Connects directly, or through a proxy. TLS is above it, so a proxy sees no content.
#[derive(Clone)]
pub(crate) struct Connector {
    proxy: Proxy,
    direct: HttpConnector<FilteringResolver>,
    to_proxy: HttpConnector<FilteringResolver>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

impl Connector {
    /// Returns a connector that resolves names with a resolver. A connection fails after `timeout`.
    pub(crate) fn new(proxy: Proxy, resolver: FilteringResolver, timeout: Duration) -> Self {
        let connector = |resolver| {
            let mut connector = HttpConnector::new_with_resolver(resolver);
            connector.enforce_http(false);
            connector.set_connect_timeout(Some(timeout));
            connector
        };
        // The administrator names the proxy, which may be a container of the same Pod.
        let to_proxy = connector(FilteringResolver { allow_loopback: true, ..resolver.clone() });
        Self { proxy, direct: connector(resolver), to_proxy }
    }
}

impl Service<Uri> for Connector {
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;
    type Response = TokioIo<TcpStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Both connectors are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(intercept) = self.proxy.of_host(&uri) else {
            let connecting = self.direct.call(uri);
            return Box::pin(async move { Ok(connecting.await?) });
        };
        let address = intercept.uri().clone();
        let proxy =
            address.authority().map(|it| it.as_str().rsplit('@').next().unwrap_or_default().to_owned());
        let mut tunnel = Tunnel::new(address, self.to_proxy.clone());
        if let Some(credentials) = intercept.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        let connecting = tunnel.call(uri);
        Box::pin(async move {
            let through =
                |source| ThroughProxy { proxy: proxy.unwrap_or_default(), source: Box::new(source) };
            Ok(connecting.await.map_err(through)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(proxy: &Proxy, host: &str) -> bool {
        proxy.of_host(&format!("https://{host}/directory").parse().expect("a URL")).is_some()
    }

    #[test]
    fn hosts_of_no_proxy_are_connected_to_directly() {
        let proxy =
            Proxy::new("http://proxy.example:3128", "10.0.0.0/8,.svc,internal.example").expect("supported");
        assert!(proxied(&proxy, "acme-v02.api.letsencrypt.org") && proxied(&proxy, "192.0.2.1"));
        for host in ["10.1.2.3", "ca.pki.svc", "internal.example", "acme.internal.example"] {
            assert!(!proxied(&proxy, host), "{host}");
        }
        assert!(!proxied(&Proxy::default(), "example.com"));
        assert!(proxied(&Proxy::new("proxy.example:3128", "").expect("without a scheme"), "example.com"));
    }

    #[test]
    fn no_proxy_can_name_ports() {
        let except =
            "ca.example:8443, .svc:443,10.0.0.1:14000,[2001:db8::1]:443,2001:db8::2,*.internal.example";
        let proxy = Proxy::new("http://proxy.example:3128", except).expect("supported");
        let direct = [
            "ca.example:8443",
            "below.ca.example:8443",
            "ca.pki.svc",
            "ca.pki.svc:443",
            "10.0.0.1:14000",
            "[2001:db8::1]",
            "[2001:db8::2]:8443",
            "acme.internal.example",
            "acme.internal.example:8443",
        ];
        for host in direct {
            assert!(!proxied(&proxy, host), "{host}");
        }
        for host in [
            "ca.example",
            "ca.example:443",
            "ca.pki.svc:8443",
            "10.0.0.1",
            "[2001:db8::1]:8443",
            "other.example",
        ] {
            assert!(proxied(&proxy, host), "{host}");
        }
    }

    #[test]
    fn unsupported_proxy_is_an_error() {
        for scheme in ["https", "socks5"] {
            let error =
                Proxy::new(&format!("{scheme}://user:secret@proxy.example"), "").expect_err("unsupported");
            assert_eq!(error.scheme, scheme);
            assert!(!error.to_string().contains("secret"));
        }
    }
}
