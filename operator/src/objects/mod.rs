//! Objects that are made for others, as pure functions of what they are made from. Nothing here does I/O.

pub mod certificate_request;
pub mod challenge;
pub mod metadata;
pub mod order;
pub mod route;
pub mod secret;
pub mod seen_secret;
