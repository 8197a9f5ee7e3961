//! Connections to servers outside of the Kubernetes API: which addresses are allowed, which certificates are
//! trusted, and through which proxy. Must not know protocols above TLS. Next: `address.rs`, `name_servers.rs`, `proxy.rs`, `tls.rs`.

mod address;
mod name_servers;
mod proxy;
mod tls;

pub use self::{
    address::MAX_LOOKUPS,
    name_servers::NameServers,
    proxy::{Proxy, UnsupportedProxy},
    tls::Trust,
};
pub(crate) use self::{
    address::{FilteringResolver, NO_ALLOWED_ADDRESS, is_forbidden},
    proxy::Connector,
    tls::tls_config,
};
