//! A whole Kubernetes on this machine, in namespaces of its own, next to as many others as there is room for.
//!
//! A [`Cluster`] is a handle on one: while a handle lives in any process, or after [`Cluster::keep`], the cluster
//! lives. Inside, all clusters look the same (`layout.rs`); from the host, [`Cluster::dial`] and every kubeconfig go
//! through the supervisor's SOCKS relay on loopback. Next: [`crate::bring_up`] for how
//! one comes up, `supervisor/` for what holds it together and cleans up after it.

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
    options::{Cni, Mode, Options},
    registry::{ClusterState, DEFAULT_NAME, names, remove, state_of},
    supervisor::{pid_inside, run_supervisor_role},
};
