//! Pebble, the ACME server of the testbed: one in every cluster, and a fresh one with its own settings for any test.
//!
//! A fresh one costs some milliseconds and ends when its handle is dropped. In a cluster it validates through the
//! cluster's ingress; on the host it has a loopback address to itself, with its own DNS server that answers every
//! name with that address. Next: [`Settings`] for what can be turned.

mod server;
mod settings;
mod tokens;

pub(crate) use self::server::start_in_cluster;
pub use self::{
    server::{CLUSTER_PORT, CLUSTER_PROCESS, HOST_HTTP_PORT, Pebble},
    settings::Settings,
    tokens::TokenServer,
};
