//! What to do, as pure functions of what is known and of the time. Nothing here does I/O, reads a clock or draws a random
//! number: what it needs is passed in, so that every decision can be repeated.

pub mod backoff;
pub mod certificate;
pub mod challenge;
pub mod ingress;
pub mod issuer;
pub mod limits;
pub mod order;
pub mod renewal;
pub mod request;
pub mod solver_select;
pub mod windows;
