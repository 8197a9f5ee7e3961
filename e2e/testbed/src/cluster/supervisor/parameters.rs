//! What the processes around a cluster are started with.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cluster::options::Mode;

/// What the supervisor's processes are told, as one JSON argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Parameters {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) state: PathBuf,
    pub(crate) cache: PathBuf,
}

/// The file with the kernel's name of the cluster's PID namespace.
pub(super) const PID_NAMESPACE: &str = "pid-namespace";

/// The word that marks a start of this binary as one of the supervisor's processes.
pub(super) const MARKER: &str = "__supervise";

impl Parameters {
    /// The arguments that make this program run a role.
    pub(super) fn arguments(&self, role: &str) -> Result<[String; 3]> {
        Ok([MARKER.to_owned(), role.to_owned(), serde_json::to_string(self)?])
    }
}
