//! The operator: it turns annotated Ingresses into TLS Secrets and keeps them valid.
//!
//! Start with [`controllers`], which connects the parts: [`cache`] (what the watches know) → [`decision`] (what to do, pure) → [`objects`],
//! [`k8s`] and [`acme`] (doing it).

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
pub mod fair_slots;
pub mod fence;
pub mod k8s;
pub mod leadership;
pub mod lifecycle;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod objects;
pub mod pki;
pub mod process_limits;
pub mod reason;
pub mod self_check;
pub mod server;
pub mod solvers;
pub mod sync;
pub mod watchdog;
