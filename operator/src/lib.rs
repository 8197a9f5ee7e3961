//! The operator: from an annotated Ingress to a TLS Secret that stays valid.

pub mod accounts;
pub mod acme;
pub mod args;
pub mod clock;
pub mod context;
pub mod controllers;
pub mod decision;
pub mod error;
pub mod failpoint;
pub mod indexes;
pub mod k8s;
pub mod metrics;
pub mod net;
pub mod objects;
pub mod pki;
pub mod rest;
pub mod self_check;
pub mod server;
pub mod solvers;
