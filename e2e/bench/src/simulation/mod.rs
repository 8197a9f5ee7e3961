//! A fast simulation of the operator's decisions on a virtual clock: a million certificates over a year, against a CA that enforces
//! Let's Encrypt's limits.
//!
//! ```text
//! cargo run --profile measure -p bench --bin simulation
//! ```
//!
//! Knows `operator::decision`, and the settings of `operator::acme`; must not use a network or read a clock. Next: `run.rs` for what
//! happens, `authority.rs` for the CA, `client.rs` for the limits that the operator imposes on itself.

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

/// Runs the simulation that the command line describes.
pub fn simulate(arguments: &Arguments) -> Report {
    Report::of(&Simulation::new(arguments.into()).run())
}
