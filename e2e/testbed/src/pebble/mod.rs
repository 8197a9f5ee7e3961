//! Pebble, the ACME server of the testbed: one in every cluster, and a new one with its own settings for any test.
//!
//! A new Pebble starts in milliseconds, and ends when its handle is dropped. In a cluster, it validates through the
//! cluster's ingress. On the host, it has a loopback address of its own, and a DNS server that resolves every name to
//! this address. Must not know which certificates tests request. Next: [`Settings`].

mod server;
mod settings;
mod tokens;

pub(crate) use self::server::start_in_cluster;
pub use self::{
    server::{CLUSTER_PORT, CLUSTER_PROCESS, HOST_HTTP_PORT, Pebble},
    settings::Settings,
    tokens::TokenServer,
};
