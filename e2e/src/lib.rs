//! The testbed: a real Kubernetes, Pebble and Traefik on one machine, and what tests need to use them.
//!
//! ```text
//! tools ──▶ image ──▶ cluster ──▶ ingress, pebble, helm ──▶ harness, probe, audit ──▶ e2e/tests, operator/tests
//! (Go, a     (OCI)     (own network,   (what runs on it)       (what a test calls)
//!  wheel)               PID and mount
//!                       namespaces)
//! ```
//!
//! A test starts at [`harness`]. Someone who changes the testbed starts at [`cluster`]. Nothing here knows the
//! operator's insides: it is driven from outside, as its users drive it.

pub mod cert_manager;
pub mod cert_manager_fixture;
pub mod harness;
pub mod operator;
pub mod scenarios;
pub mod user;
