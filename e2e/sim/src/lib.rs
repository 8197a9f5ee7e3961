//! The surroundings of the operator as models in one process: they answer as the real ones do, in virtual time, and fail when they are
//! told to.
//!
//! Knows the protocols of Kubernetes; must not know how the operator uses them. Next: [`api_server`].

pub mod api_server;
