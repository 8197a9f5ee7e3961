//! The parameters that the processes around a cluster pass on, as one JSON argument.
//! Data only. Next: `mod.rs`, which reads them.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cluster::options::Mode;

/// The parameters of every role. `state` and `cache` are paths on the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Parameters {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) state: PathBuf,
    pub(crate) cache: PathBuf,
}

/// The file in the cluster's folder with the kernel's name of its PID namespace.
pub(super) const PID_NAMESPACE: &str = "pid-namespace";

/// The first argument of a program that is started for a role.
pub(super) const MARKER: &str = "__supervise";

impl Parameters {
    /// The arguments with which this program runs a role.
    pub(super) fn arguments(&self, role: &str) -> Result<[String; 3]> {
        Ok([MARKER.to_owned(), role.to_owned(), serde_json::to_string(self)?])
    }
}
