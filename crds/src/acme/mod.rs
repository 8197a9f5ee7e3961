//! The API group `acme.cert-manager.io/v1`, one module per kind, and the ACME settings of issuers.

mod challenge;
mod issuer;
mod order;
mod solver;

pub use self::{challenge::*, issuer::*, order::*, solver::*};
