//! Addresses that the operator never connects to. Users who may create Issuers or Certificates must not be able to make
//! it send requests to the metadata service of its node, to itself, or to its neighbors.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::Service;

/// The IPv6 metadata service of AWS. The IPv4 metadata services are link-local.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// The error text for a name that resolves to forbidden addresses only.
pub(crate) const NO_ALLOWED_ADDRESS: &str =
    "the name resolves only to loopback, link-local, or metadata addresses";

/// Whether the operator must not connect to an address.
pub(crate) fn is_forbidden(address: IpAddr, allow_loopback: bool) -> bool {
    let address = address.to_canonical();
    match address {
        _ if address.is_loopback() => !allow_loopback,
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.octets()[0] == 0
                || v4 == Ipv4Addr::UNSPECIFIED
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified() || v6 == METADATA_V6
        }
    }
}

/// Resolves names with the system resolver and drops forbidden addresses. The connection uses the checked address, so a
/// DNS change between check and connection has no effect.
#[derive(Clone, Debug)]
pub(crate) struct FilteringResolver {
    inner: GaiResolver,
    allow_loopback: bool,
}

impl FilteringResolver {
    pub(crate) fn new(allow_loopback: bool) -> Self {
        Self { inner: GaiResolver::new(), allow_loopback }
    }
}

impl Service<Name> for FilteringResolver {
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;
    type Response = vec::IntoIter<SocketAddr>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.inner.call(name);
        let allow_loopback = self.allow_loopback;
        Box::pin(async move {
            let allowed: Vec<_> =
                resolving.await?.filter(|address| !is_forbidden(address.ip(), allow_loopback)).collect();
            if allowed.is_empty() {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, NO_ALLOWED_ADDRESS));
            }
            Ok(allowed.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_and_metadata_addresses_are_forbidden() {
        for (address, forbidden) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("0.0.0.0", true),
            ("::", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("192.0.2.1", false),
            ("10.96.0.1", false),
            ("2001:db8::1", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(is_forbidden(address, false), forbidden, "{address}");
        }
        assert!(!is_forbidden(IpAddr::V4(Ipv4Addr::LOCALHOST), true));
    }
}
