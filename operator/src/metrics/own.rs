//! Metrics that cert-manager doesn't have, with the prefix `acme_operator_`.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use super::counts::Counts;

/// Returns a number when it is called.
type Count = Box<dyn Fn() -> usize + Send + Sync>;

/// The metrics, and what is asked for their values on each scrape.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) registry: Registry,
    pub(super) leader: IntGauge,
    waiting: IntGauge,
    certificates: IntGaugeVec,
    expired: IntGauge,
    overdue: IntGauge,
    unsupported_issuers: IntGaugeVec,
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
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok(gauges)
        };
        let build =
            gauges("acme_operator_build_info", "The version of the operator. Always 1.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let leader = gauge("acme_operator_leader", "Whether this replica is the leader, and reconciles.")?;
        let waiting = gauge(
            "acme_operator_new_orders_waiting",
            "The number of new orders that wait for the limit of their CA, which is no fault.",
        )?;
        let certificates = gauges(
            "acme_operator_certificates",
            "The number of Certificates by the status of their condition Ready.",
            &["condition"],
        )?;
        let expired = gauge(
            "acme_operator_certificates_expired",
            "The number of Certificates whose certificate has expired.",
        )?;
        let overdue = gauge(
            "acme_operator_certificates_renewal_overdue",
            "The number of Certificates for which two thirds of the time between the planned renewal and the expiry have passed.",
        )?;
        let unsupported_issuers = gauges(
            "acme_operator_unsupported_issuers",
            "The number of Issuers and ClusterIssuers of types that this operator does not support.",
            &["kind", "type"],
        )?;
        Ok(Self {
            leader,
            waiting,
            certificates,
            expired,
            overdue,
            unsupported_issuers,
            count_waiting: Arc::default(),
            registry,
        })
    }

    /// Only the first call has an effect.
    pub(super) fn set_waiting_orders(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        _ = self.count_waiting.set(Box::new(count));
    }

    /// Sets the values that change on their own.
    pub(super) fn refresh(&self, counts: &Counts) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.set(number(self.count_waiting.get().map_or(0, |count| count())));
        let Counts { ready, expired, overdue, unsupported_issuers } = counts;
        for (condition, count) in ready {
            self.certificates.with_label_values(&[condition]).set(number(*count));
        }
        self.expired.set(number(*expired));
        self.overdue.set(number(*overdue));
        self.unsupported_issuers.reset();
        for ((kind, type_), count) in unsupported_issuers {
            self.unsupported_issuers.with_label_values(&[kind, type_]).set(number(*count));
        }
    }
}
