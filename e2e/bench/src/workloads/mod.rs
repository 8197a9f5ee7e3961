//! The workloads, as methods of [`crate::session::Session`]: each puts load on the controller and records what that cost.
//!
//! Know what users and clusters do; must not know how costs are measured. Next: `issuance.rs`.

mod existing;
mod failover;
mod isolation;
mod issuance;
mod soak;
mod standalone;
