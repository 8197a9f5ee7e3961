//! How many Certificates and issuers are in which state: alerts can use these without series for each Certificate.

use std::collections::BTreeMap;

use crds::{
    condition::ConditionStatus,
    meta::{CLUSTER_ISSUER_KIND, DEFAULT_ISSUER_KIND},
};
use jiff::Timestamp;

use crate::cache::{Cache, Gauge, IssuerConfig};

/// The numbers of a scrape.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Certificates by the status of `Ready`.
    pub(super) ready: [(&'static str, usize); 3],
    /// Certificates that have expired.
    pub(super) expired: usize,
    /// Certificates that should have been renewed.
    pub(super) overdue: usize,
    /// Issuers by kind and type.
    pub(super) unsupported_issuers: BTreeMap<(&'static str, &'static str), usize>,
}

impl Counts {
    pub(super) fn of(cache: &Cache, now: Timestamp) -> Self {
        let mut counts = Self { ready: [("False", 0), ("True", 0), ("Unknown", 0)], ..Self::default() };
        for certificate in cache.indexes.certificate_gauges.all() {
            counts.add(&certificate, now.as_second());
        }
        for issuer in cache.issuers.all().iter().filter(|issuer| issuer.spec.acme.is_none()) {
            counts.add_unsupported(DEFAULT_ISSUER_KIND, &IssuerConfig::from(&issuer.spec));
        }
        for issuer in cache.cluster_issuers.all().iter().filter(|issuer| issuer.spec.acme.is_none()) {
            counts.add_unsupported(CLUSTER_ISSUER_KIND, &IssuerConfig::from(&issuer.spec));
        }
        counts
    }

    fn add(&mut self, certificate: &Gauge, now: i64) {
        let [not_ready, ready, unknown] = &mut self.ready;
        let (_, count) = match certificate.ready {
            ConditionStatus::False => not_ready,
            ConditionStatus::True => ready,
            ConditionStatus::Unknown => unknown,
        };
        *count += 1;
        let Gauge { not_after, renewal_time, .. } = *certificate;
        self.expired += usize::from(not_after > 0 && not_after <= now);
        let third = not_after.saturating_sub(renewal_time) / 3;
        self.overdue += usize::from(renewal_time > 0 && not_after.saturating_sub(now) < third);
    }

    fn add_unsupported(&mut self, kind: &'static str, config: &IssuerConfig) {
        *self.unsupported_issuers.entry((kind, config.type_name())).or_default() += 1;
    }
}
