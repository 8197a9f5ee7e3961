//! What to do next, as pure functions of a view of the world and the time.
//!
//! Knows what every answer of a CA, the API server or a probe means. Must not do I/O, hold a client, log, read a clock or draw
//! random numbers: times and seeds are passed in, so every decision can be repeated in a test. Next: `reaction.rs` for ACME errors,
//! then the module of a controller, such as `order.rs`.

pub mod backoff;
pub mod certificate;
pub mod challenge;
pub mod fair_queue;
pub mod ingress_controllers;
pub mod issuer;
pub mod lease;
pub mod limits;
pub mod new_orders;
pub mod order;
pub mod problem;
mod reaction;
pub mod renewal;
pub mod request;
mod requeue;
pub mod restoration;
pub mod retry;
pub mod route_service;
#[cfg(test)]
mod runner;
pub mod shim;
pub mod solver_select;
#[cfg(test)]
pub(crate) mod testing;
pub mod windows;

pub use self::{
    reaction::{DEFAULT_WAIT, LONGEST_NEW_ORDER_WAIT, LONGEST_WAIT, Reaction, reaction},
    requeue::Requeue,
};
