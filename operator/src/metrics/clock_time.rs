//! The time of the operator, as cert-manager exports it: alerts compare it with the times of certificates.

use std::sync::Arc;

use prometheus::{
    Counter, Gauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::clock::Clock;

/// The time of a scrape, in seconds since 1970 UTC: as a counter, which is what cert-manager had first, and as a gauge.
pub(super) struct ClockTime {
    clock: Arc<dyn Clock>,
    descriptions: Vec<Desc>,
}

impl ClockTime {
    pub(super) fn new(clock: Arc<dyn Clock>) -> prometheus::Result<Self> {
        let (counter, gauge) = metrics()?;
        let descriptions = counter.desc().into_iter().chain(gauge.desc()).cloned().collect();
        Ok(Self { clock, descriptions })
    }
}

impl Collector for ClockTime {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok((counter, gauge)) = metrics() else { return Vec::new() };
        #[expect(clippy::cast_precision_loss, reason = "exact for millions of years")]
        let now = self.clock.now().as_second().max(0) as f64;
        counter.inc_by(now);
        gauge.set(now);
        [counter.collect(), gauge.collect()].concat()
    }
}

/// The metrics. A counter can only grow, so there are new ones for each scrape.
fn metrics() -> prometheus::Result<(Counter, Gauge)> {
    const GAUGE: &str = "The clock time given in seconds (from 1970/01/01 UTC).";
    let counter = Counter::new(
        "certmanager_clock_time_seconds",
        format!("DEPRECATED: use clock_time_seconds_gauge instead. {GAUGE}"),
    )?;
    let gauge = Gauge::new(
        "certmanager_clock_time_seconds_gauge",
        format!("{GAUGE} Gauge form of the deprecated clock_time_seconds counter. No labels."),
    )?;
    Ok((counter, gauge))
}
