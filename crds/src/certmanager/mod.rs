//! The API group `cert-manager.io/v1`, one module per kind; Issuer and ClusterIssuer share one.

mod certificate;
mod certificate_request;
mod issuer;

pub use self::{certificate::*, certificate_request::*, issuer::*};
