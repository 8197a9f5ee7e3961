//! `cert-manager.io/v1`: a file per kind; the two issuers share one.

mod certificate;
mod certificate_request;
mod issuer;

pub use self::{certificate::*, certificate_request::*, issuer::*};
