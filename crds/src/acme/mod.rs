//! `acme.cert-manager.io/v1`, and the ACME part of issuers: a file per kind.

mod challenge;
mod issuer;
mod order;
mod solver;

pub use self::{challenge::*, issuer::*, order::*, solver::*};
