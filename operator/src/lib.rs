//! The operator: from an annotated Ingress to a TLS Secret that stays valid.

pub mod accounts;
pub mod acme;
pub mod args;
pub mod cache;
pub mod clock;
pub mod context;
pub mod controllers;
pub mod decision;
pub mod ephemeral_map;
pub mod error;
pub mod error_chain;
pub mod failpoint;
pub mod k8s;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod objects;
pub mod pki;
pub mod self_check;
pub mod server;
pub mod sync;
