//! The Kubernetes API: watches, queues, writes that are safe to repeat, events, leader election.
//!
//! Knows Kubernetes, nothing of certificates. Next: `client.rs`, `write.rs`, `watch.rs`.

mod client;
mod contact;
mod definition;
mod dispatch;
mod error_text;
mod events;
mod fair_requests;
mod guarded;
mod lease;
mod merge;
mod pages;
mod queue;
mod requester;
#[cfg(test)]
pub(crate) mod testing;
mod watch;
mod without_field_owners;
mod work_queue;
mod write;

pub use self::{
    client::KubeClient,
    contact::{CONTENDED, Contact, MAX_CONCURRENT_REQUESTS, connect},
    definition::Definition,
    dispatch::dispatch,
    error_text::error_text,
    events::Events,
    guarded::{Guarded, MAX_OBJECT_BYTES, Shrink, Unreadable},
    lease::{Lease, LeaseSettings},
    pages::{Page, Pages, ReadPage},
    queue::{Enqueuer, Queue, queue},
    requester::Requester,
    watch::{ObjectEvent, Presence, Scope, Watch},
    work_queue::WorkQueue,
    write::{apply, create, delete, is_newer, patch, version_number, write_status},
};
