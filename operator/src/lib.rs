//! The operator: from an annotated Ingress to a TLS Secret that stays valid. So far only its frame: the process, its
//! logs and its health.

pub mod acme;
pub mod decision;
pub mod pki;
pub mod server;
