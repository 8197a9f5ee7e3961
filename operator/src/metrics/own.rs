//! Metrics that cert-manager doesn't have, with the prefix `acme_operator_`.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

/// Returns a number when it is called.
type Count = Box<dyn Fn() -> usize + Send + Sync>;

/// The metrics, and what is asked for their values on each scrape.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) registry: Registry,
    pub(super) leader: IntGauge,
    waiting: IntGauge,
    count_waiting: Arc<OnceLock<Count>>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Own {
    pub(super) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let build = IntGaugeVec::new(
            Opts::new("acme_operator_build_info", "The version of the operator. Always 1."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let leader =
            IntGauge::new("acme_operator_leader", "Whether this replica is the leader, and reconciles.")?;
        let waiting = IntGauge::new(
            "acme_operator_new_orders_waiting",
            "The number of new orders that wait for the limit of their CA, which is no fault.",
        )?;
        registry.register(Box::new(build))?;
        registry.register(Box::new(leader.clone()))?;
        registry.register(Box::new(waiting.clone()))?;
        Ok(Self { registry, leader, waiting, count_waiting: Arc::default() })
    }

    /// Only the first call has an effect.
    pub(super) fn set_waiting_orders(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        _ = self.count_waiting.set(Box::new(count));
    }

    /// Asks for the values that change on their own.
    pub(super) fn refresh(&self) {
        let waiting = self.count_waiting.get().map_or(0, |count| count());
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}
