//! Measures what a certificate operator costs, and simulates a year of its decisions.
//!
//! It measures from outside: objects in the API, the API server's audit log, Pebble's log, and the kernel's counters of a process. The
//! same code therefore measures any controller that serves `cert-manager.io/v1`.
//!
//! ```text
//! run ──▶ workloads ──▶ session ──▶ controller_under_test, environment ──▶ measure ──▶ accounting ──▶ record ──▶ page, plot
//!                                   (starts and ends it, a user, a CA)     (costs)     (figures)      (JSON)
//! ```
//!
//! Must not know the operator's code, except for the decisions that [`simulation`] runs. Next: `main.rs` for the commands, `run.rs`.

mod accounting;
mod baselines;
mod bench;
mod controller_under_test;
mod delay;
mod environment;
mod measure;
pub mod page;
mod plot;
mod ready_watch;
mod record;
mod run;
mod session;
pub mod simulation;
mod workloads;

pub use self::{
    bench::{Bench, Source, Workload},
    controller_under_test::Controller,
    delay::relay,
    record::{Figure, Machine, Record, Records},
};
