//! The Kubernetes resources that acme-operator reconciles: `cert-manager.io/v1` and `acme.cert-manager.io/v1`.
//!
//! Types only: no I/O, no clock, no async runtime. Every other crate may use this one; it uses none of them. JSON names
//! are cert-manager's, byte for byte; branches that the operator does not use are [`Preserved`]. Next: [`generate`] for
//! the YAML in the chart, [`annotations`] for every name that is not a field.
//!
//! Doc comments of the types and fields are what `kubectl explain` shows. For an optional enum that is the comment of the
//! enum, and for all other fields that of the field.

#![allow(clippy::duplicated_attributes, reason = "the lint mistakes CEL rules for duplicates")]
#![allow(clippy::struct_field_names, reason = "the names are those of cert-manager")]
#![allow(unreachable_pub, reason = "KubeSchema copies each struct, including `pub`, into a function")]

pub mod acme;
pub mod admission;
pub mod annotations;
pub mod certmanager;
pub mod condition;
pub mod duration;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod gateway;
pub mod generate;
pub mod http01;
pub mod meta;
mod preserved;
mod schema;

pub use self::preserved::Preserved;

/// The API group of Certificate, CertificateRequest, Issuer, and ClusterIssuer.
pub const GROUP: &str = "cert-manager.io";

/// The API group of Order and Challenge.
pub const ACME_GROUP: &str = "acme.cert-manager.io";
