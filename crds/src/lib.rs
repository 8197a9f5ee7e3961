//! The Kubernetes resources that acme-operator reconciles: `cert-manager.io/v1` and `acme.cert-manager.io/v1`.
//!
//! Types only: no I/O, no clock, no async runtime. Every other crate may use this one; it uses none of them.
