//! Addresses that the operator never connects to. Users who may create Issuers or Certificates must not be able to make
//! it send requests to the metadata service of its node, to itself, or to its neighbors.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::task::spawn_blocking;
use tower::Service;

use super::name_servers::NameServers;
use crate::{decision::fair_queue::Lane, fair_slots::FairSlots};

/// Services of clouds that trust every machine or Pod that reaches them, as far as they are not link-local: metadata, credentials,
/// and the control of virtual machines at Alibaba, Oracle, Azure, AWS, and Google.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The prefix of IPv4 addresses as an IPv6-only network reaches them through NAT64 ([RFC 6052 section 2.1](https://www.rfc-editor.org/rfc/rfc6052#section-2.1)).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// How many names of one purpose are looked up concurrently. Each lookup occupies a thread until the resolver of the system gives up, and
/// tokio has 512.
pub const MAX_LOOKUPS: usize = 64;

/// The error text for a name that resolves to forbidden addresses only.
pub(crate) const NO_ALLOWED_ADDRESS: &str =
    "the name resolves only to loopback, link-local, or metadata addresses";

/// Whether the operator must not connect to an address. Private ranges are allowed: company networks have ACME servers there.
pub(crate) fn is_forbidden(address: IpAddr, allow_loopback: bool) -> bool {
    let address = match address.to_canonical() {
        IpAddr::V6(v6) if v6.segments().starts_with(&NAT64) => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::from([a, b, c, d])
        }
        canonical => canonical,
    };
    match address {
        _ if address.is_loopback() => !allow_loopback,
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.octets()[0] == 0
                || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.is_unspecified()
                || METADATA_V6.contains(&v6)
        }
    }
}

/// Resolves names with given name servers or the system resolver, and drops forbidden addresses. The connection uses the checked address, so a
/// DNS change between check and connection has no effect.
#[derive(Clone)]
pub(crate) struct FilteringResolver {
    /// Who may look up a name.
    pub(crate) lookups: FairSlots,
    /// For whom names are looked up; if it is `None`, each name takes turns with the others.
    pub(crate) namespace: Option<String>,
    pub(crate) allow_loopback: bool,
    /// The name servers to ask; the system resolver if there are none.
    pub(crate) name_servers: NameServers,
}

impl Service<Name> for FilteringResolver {
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;
    type Response = vec::IntoIter<SocketAddr>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { lookups, namespace, allow_loopback, name_servers } = self.clone();
        Box::pin(async move {
            let namespace = namespace.unwrap_or_else(|| name.as_str().to_owned());
            let permit = lookups.acquire(Lane { namespace, server: None }).await;
            let addresses: Vec<_> = if name_servers.is_empty() {
                let lookup = spawn_blocking(move || {
                    // Until the resolver gives up: this thread does not stop when its caller no longer waits.
                    let _permit = permit;
                    (name.as_str(), 0).to_socket_addrs()
                });
                lookup.await.map_err(io::Error::other)??.collect()
            } else {
                let addresses = name_servers.lookup(name.as_str()).await?;
                addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect()
            };
            let allowed: Vec<_> =
                addresses.into_iter().filter(|it| !is_forbidden(it.ip(), allow_loopback)).collect();
            if allowed.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NO_ALLOWED_ADDRESS));
            }
            Ok(allowed.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::time::timeout;

    use super::*;
    use crate::decision::fair_queue::Slots;

    #[test]
    fn local_and_metadata_addresses_are_forbidden() {
        for (address, forbidden) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("fd00:ec2::23", true),
            ("fd20:ce::254", true),
            ("100.100.100.200", true),
            ("192.0.0.192", true),
            ("168.63.129.16", true),
            ("::ffff:168.63.129.16", true),
            ("64:ff9b::169.254.169.254", true),
            ("64:ff9b::127.0.0.1", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("0.0.0.0", true),
            ("::", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("192.0.2.1", false),
            ("10.96.0.1", false),
            ("192.168.0.1", false),
            ("fd00::1", false),
            ("64:ff9b::192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(is_forbidden(address, false), forbidden, "{address}");
        }
        assert!(!is_forbidden(IpAddr::V4(Ipv4Addr::LOCALHOST), true));
    }

    #[tokio::test]
    async fn lookups_of_one_tenant_delay_no_other() {
        let lookups = FairSlots::new(Slots::few(MAX_LOOKUPS));
        let hanging = || lookups.acquire(Lane { namespace: "a".to_owned(), server: None });
        let hanging: Vec<_> = std::iter::from_fn(|| hanging().now_or_never()).collect();
        assert!(hanging.len() < MAX_LOOKUPS / 2, "{}", hanging.len());
        let resolve = |namespace: &str| {
            let namespace = Some(namespace.to_owned());
            let (lookups, name_servers) = (lookups.clone(), NameServers::default());
            let mut resolver = FilteringResolver { lookups, namespace, allow_loopback: true, name_servers };
            resolver.call("localhost".parse().expect("a name"))
        };
        assert!(resolve("b").await.is_ok());
        assert!(timeout(Duration::from_millis(50), resolve("a")).await.is_err());
        drop(hanging);
        assert!(resolve("a").await.is_ok());
    }
}
