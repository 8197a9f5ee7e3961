//! The Kubernetes objects that the operator creates, as pure functions of the objects they are created from.
//!
//! Knows names, labels, owners and data layouts; must not do I/O, read a clock or decide whether an object is needed (that is
//! `decision`). Next: `names.rs` and `metadata.rs`, which every builder uses.

pub mod certificate_request;
pub mod challenge;
mod event_note;
pub mod managed_fields;
mod merge_diff;
pub mod metadata;
pub mod names;
pub mod order;
pub mod route;
pub mod secret;
pub mod secret_meta;

pub use self::{
    event_note::{EventNote, LONGEST_NOTE},
    merge_diff::{extra, merge_diff, merge_missing},
};
