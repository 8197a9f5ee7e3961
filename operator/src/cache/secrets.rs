//! What Certificates' Secrets contained when they were last read or written, so that they are not read again.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{decision::certificate::SecretView, ephemeral_map::EphemeralMap};

/// Reads of Secrets, by namespace and name.
pub type SecretReads = EphemeralMap<(String, String), SecretRead>;

/// A Secret as it was last read.
#[derive(Clone, Debug)]
pub enum SecretRead {
    /// It did not exist.
    Absent {
        /// When it was read.
        since: Timestamp,
    },
    /// It existed.
    Present {
        /// Its resourceVersion.
        version: String,
        /// What it contained.
        view: Arc<SecretView>,
    },
}
