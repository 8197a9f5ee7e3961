//! A Kubernetes cluster on this machine, in namespaces of its own, next to any number of others.
//!
//! A [`Cluster`] is a handle. The cluster runs while any process has a handle, or until it is removed after
//! [`Cluster::keep`]. Inside, all clusters look the same (`layout.rs`). From the host, [`Cluster::dial`] and every
//! kubeconfig connect through the supervisor's SOCKS relay on loopback. Nothing here knows what runs in a cluster
//! besides its own parts. Next: [`crate::bring_up`] for the start, `supervisor/` for the processes around a cluster.

pub(crate) mod config;
pub(crate) mod control;
mod handle;
pub(crate) mod layout;
mod options;
pub(crate) mod plan;
pub(crate) mod registry;
pub(crate) mod supervisor;

pub use self::{
    control::{Finished, Process, ProcessStatus},
    handle::{Bound, Cluster},
    layout::*,
    options::{IngressController, Mode, Network, Options},
    registry::{ClusterState, DEFAULT_NAME, names, remove, state_of},
    supervisor::{pid_inside, run_supervisor_role},
};
