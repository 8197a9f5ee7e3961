//! A fast simulation of the scheduler: the operator's decisions, driven by a virtual clock, for a million certificates over a
//! year, against a CA that holds it to Let's Encrypt's limits.
//!
//! ```text
//! cargo run --profile measure -p bench --bin simulation
//! ```
//!
//! Next: `run.rs` for what happens, `authority.rs` for the CA, `client.rs` for the limits that the operator keeps to.

mod authority;
mod client;
mod figures;
mod fleet;
mod polls;
mod report;
mod run;
mod scenario;
mod summary;
#[cfg(test)]
mod tests;
mod validity;
mod wheel;

use self::run::Simulation;
pub(crate) use self::summary::fill;
pub use self::{report::Report, scenario::Arguments};

/// Simulates what the command line says.
pub fn simulate(arguments: &Arguments) -> Report {
    Report::of(&Simulation::new(arguments.into()).run())
}
