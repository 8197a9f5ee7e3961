//! The test bed: a real Kubernetes, Pebble and Traefik on one machine, and what tests need to use them.
//!
//! ```text
//! tools ──▶ image ──▶ cluster ──▶ ingress, pebble, helm ──▶ harness, probe, audit ──▶ e2e/tests, operator/tests
//! (Go, a     (OCI)     (own network,   (what runs on it)       (what a test calls)
//!  wheel)               PID and mount
//!                       namespaces)
//! ```
//!
//! A test starts at [`harness`]. Someone who changes the bed starts at [`cluster`]. Nothing here knows the
//! operator's insides: it is driven from outside, as its users drive it.

pub mod acme;
pub mod audit;
pub mod bench;
pub mod bring_up;
pub mod cert_manager;
pub mod cluster;
pub mod estate;
pub mod harness;
pub mod helm;
pub mod http;
pub mod ingress;
pub mod operator;
pub mod page;
pub mod pebble;
pub mod pki;
pub mod probe;
pub mod service_account;
pub mod stories;
pub mod tools;
pub mod user;

pub use xtask::{paths, progress};
