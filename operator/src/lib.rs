//! The operator: from an annotated Ingress to a TLS Secret that stays valid.

pub mod acme;
pub mod clock;
pub mod decision;
pub mod error;
pub mod k8s;
pub mod net;
pub mod objects;
pub mod pki;
pub mod server;
