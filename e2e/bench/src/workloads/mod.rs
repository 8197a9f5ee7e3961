//! The workloads, as methods of [`crate::Bench`]: each does something to the controller in a cluster, and records what that cost.

mod existing;
mod failover;
mod issuance;
mod standalone;
