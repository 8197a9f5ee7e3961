//! Helpers of several test programs. Next: `api.rs` for objects of our API, `chart.rs` for the chart, `migration.rs` for migrations from
//! cert-manager.

#![allow(dead_code, reason = "each test program uses only a part")]

pub(crate) mod api;
pub(crate) mod chart;
pub(crate) mod migration;

/// A cluster name that no other run uses.
pub(crate) fn cluster_name(prefix: &str) -> String {
    format!("test-{prefix}-{}", std::process::id())
}
