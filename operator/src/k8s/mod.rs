//! How objects are written: only what differs, never what somebody else has changed meanwhile.
//!
//! Knows Kubernetes, nothing of certificates. Next: `write.rs`, `lease.rs`.

mod client;
mod events;
mod guarded;
mod lease;
mod queue;
mod watch;
mod write;

pub use self::{
    client::KubeClient,
    events::Events,
    guarded::Guarded,
    lease::{Lease, LeaseSettings},
    queue::{Enqueuer, Queue, queue},
    watch::{ObjectEvent, Presence, Watch},
    write::{apply, create, delete, is_newer, merge_diff, patch, version_number, write_status},
};
