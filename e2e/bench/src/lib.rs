//! What a certificate operator costs, measured from outside: by what is in the API, by the API server's audit log, by Pebble's
//! log and by what the kernel counts for a process. So whatever serves `cert-manager.io/v1` is measured by the same code.
//!
//! ```text
//! run ──▶ workloads ──▶ controller_under_test (starts, ends) ──▶ measure (what it cost) ──▶ record (JSON) ──▶ page, plot
//! ```

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
    bench::{Bench, Workload},
    controller_under_test::Controller,
    delay::relay,
    record::{Figure, Machine, Record, Records},
};
