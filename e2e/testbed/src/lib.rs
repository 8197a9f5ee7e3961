//! Clusters on one machine, with a real Kubernetes, Pebble, and Traefik, and clients that reach into them.
//!
//! ```text
//! tools ──────▶ cluster ───────▶ ingress, pebble ──▶ bring_up ───────▶ commands
//! (built by     (a network, PID,   (run in a cluster)   (starts all parts)  (`cargo xtask cluster`)
//!  Go, a wheel)  and mount
//!                namespace)
//! ```
//!
//! Start reading at [`bring_up`]. Nothing here knows what is tested: no program, chart, or image of the operator.

pub mod acme;
pub mod audit;
pub mod bring_up;
pub mod cluster;
pub mod commands;
pub mod gateway_api;
pub mod helm;
pub mod http;
pub mod ingress;
pub(crate) mod network;
pub mod page;
pub mod pebble;
pub mod pki;
pub mod probe;
pub mod service_account;
pub mod tools;

pub use xtask::{paths, process, progress};
