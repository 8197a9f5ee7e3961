//! Certificates in a model world that does what is decided, or fails at any point.
//!
//! Next: `world.rs` for the model, `model.rs` for what holds whatever happens, the others for single rules.

mod issuance;
mod model;
mod problems;
pub(crate) mod reasons;
mod renewal;
mod secret;
mod world;

use std::time::Duration;

use crds::condition::{self, ConditionStatus};
use jiff::SignedDuration;

use self::world::{World, condition_of, hours, issued};
use super::*;
use crate::decision::Requeue;
