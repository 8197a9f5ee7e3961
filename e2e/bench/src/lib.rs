//! What a certificate operator costs, measured from outside: by what is in the API, by the API server's audit log, by Pebble's
//! log and by what the kernel counts for a process. So whatever serves `cert-manager.io/v1` is measured by the same code.
//!
//! ```text
//! workloads ──▶ subject (what is measured: starts, ends) ──▶ measure (what it cost) ──▶ record (JSON) ──▶ page, plot
//! ```

mod bed;
mod delay;
mod floors;
mod measure;
pub mod page;
mod plot;
mod record;
pub mod simulation;
mod subject;
mod workloads;

pub use self::{
    delay::relay,
    record::{Figure, Machine, Record, Records},
    subject::Controller,
    workloads::{Bench, Workload},
};
