//! The operator as its users run it: installed in a cluster of the testbed, and driven only through objects, Pods, and logs.
//!
//! ```text
//! testbed ──▶ harness ───────▶ operator, cert_manager ──▶ user ───────▶ scenarios ─────▶ e2e/tests, operator/tests, bench
//!             (namespaces,     (install or start it)      (what users   (what happens
//!              waits, dumps)                               do)           to them)
//! ```
//!
//! Knows objects, flags, and ports; must not know the operator's code. Next: [`harness`], which every test starts from.

pub mod backup;
pub mod cert_manager;
pub mod cert_manager_fixture;
pub mod gateways;
pub mod harness;
pub mod intruder;
pub mod matrix;
pub mod noise;
pub mod operator;
pub mod scenarios;
pub mod user;
