//! The operator as its users have it: installed in a cluster of the testbed, and driven by objects, Pods and logs alone.
//!
//! ```text
//! testbed ──▶ harness ──▶ operator, cert_manager ──▶ user ──▶ scenarios ──▶ e2e/tests, operator/tests, bench
//!             (a namespace,  (install or start it)   (what users  (what happens
//!              waits, dumps)                          do)          to them)
//! ```
//!
//! A test starts at [`harness`]. Nothing here knows the operator's insides.

pub mod cert_manager;
pub mod cert_manager_fixture;
pub mod harness;
pub mod operator;
pub mod scenarios;
pub mod user;
