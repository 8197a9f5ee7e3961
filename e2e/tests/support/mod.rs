//! What several test programs use.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod api;

/// A cluster name that no other run has.
pub(crate) fn name(prefix: &str) -> String {
    format!("test-{prefix}-{}", std::process::id())
}
