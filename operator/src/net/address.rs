//! Which addresses are never asked. Who may write an Issuer or a Certificate must not make the operator talk to the node's
//! metadata service, to itself or to its neighbours.

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

/// AWS's metadata service in IPv6; those in IPv4 are link-local.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// What a resolver says of a name that stands for nothing but such addresses.
pub(crate) const NO_ALLOWED_ADDRESS: &str = "it stands for no address that may be asked";

/// Whether nothing may be asked at an address.
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

/// Resolves names as the system does, and leaves out what may not be asked: the connection goes to what was looked at, so
/// a name that changes in between changes nothing.
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
    fn what_is_no_place_for_an_acme_server_is_forbidden() {
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
