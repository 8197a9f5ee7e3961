//! How objects are written: only what differs, never what somebody else has changed meanwhile.
//!
//! Knows Kubernetes, nothing of certificates. Next: `write.rs`, `lease.rs`.

mod events;
mod guarded;
mod lease;
mod watch;
mod write;

pub use self::{
    events::Events,
    guarded::Guarded,
    lease::{Lease, LeaseSettings},
    watch::{Queue, Seen, Waker, queue, watch, watch_metadata},
    write::{apply, create, delete, is_newer, merge_diff, patch, version_number, write_status},
};
