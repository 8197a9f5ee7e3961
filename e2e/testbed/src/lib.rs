//! A real Kubernetes, Pebble and Traefik on one machine, and clients that reach into it.
//!
//! ```text
//! tools ──▶ cluster ──▶ ingress, pebble ──▶ bring_up ──▶ commands
//! (Go, a    (own network,   (what runs on it)   (starts all)   (`cargo xtask cluster`)
//!  wheel)    PID and mount
//!            namespaces)
//! ```
//!
//! Start at [`bring_up`]. Nothing here knows what is tested: no program, chart or image of the operator.

pub mod acme;
pub mod audit;
pub mod bring_up;
pub mod cluster;
pub mod commands;
pub mod helm;
pub mod http;
pub mod ingress;
pub mod page;
pub mod pebble;
pub mod pki;
pub mod probe;
pub mod service_account;
pub mod tools;

pub use xtask::{paths, progress};
