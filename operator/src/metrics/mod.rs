//! Prometheus metrics with the names and help texts of cert-manager, so that its dashboards and alerts keep working.
//! Must not use labels from open sets. Next: `objects.rs` for gauges of objects.

mod objects;

use std::sync::Arc;

use hyper::Uri;
use prometheus::{CounterVec, Encoder, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

use self::objects::{certificate_gauges, challenge_gauges, issuer_gauges};
use crate::{acme::Observer, cache::Cache, failpoint};

/// Counters of events. Gauges of objects are computed from the cache on each scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    sync_calls: CounterVec,
    sync_errors: CounterVec,
    acme_requests: CounterVec,
    acme_durations: HistogramVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new().expect("names and labels are well-formed and unique")
    }
}

impl Metrics {
    fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<CounterVec> {
            let counter = CounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let request = ["scheme", "host", "action", "method", "status"];
        let sync_calls = counter(
            "certmanager_controller_sync_call_count",
            "The number of sync() calls made by a controller.",
            &["controller"],
        )?;
        let sync_errors = counter(
            "certmanager_controller_sync_error_count",
            "The number of errors encountered during controller sync().",
            &["controller"],
        )?;
        let acme_requests = counter(
            "certmanager_http_acme_client_request_count",
            "The number of requests made by the ACME client.",
            &request,
        )?;
        let acme_durations = HistogramVec::new(
            HistogramOpts::new(
                "certmanager_http_acme_client_request_duration_seconds",
                "The HTTP request latencies in seconds for the ACME client.",
            ),
            &request,
        )?;
        registry.register(Box::new(acme_durations.clone()))?;
        Ok(Self { registry, sync_calls, sync_errors, acme_requests, acme_durations })
    }

    /// Counts a finished reconcile.
    pub fn record_reconcile(&self, controller: &str, failed: bool) {
        self.sync_calls.with_label_values(&[controller]).inc();
        if failed {
            self.sync_errors.with_label_values(&[controller]).inc();
        }
    }

    /// Returns a callback that counts requests to ACME servers.
    pub fn acme_observer(&self) -> Observer {
        let (requests, durations) = (self.acme_requests.clone(), self.acme_durations.clone());
        Arc::new(move |observation| {
            failpoint::passed(observation.url);
            let uri: Uri = observation.url.parse().unwrap_or_default();
            let status =
                observation.status.map_or_else(|| "999".to_owned(), |status| status.as_u16().to_string());
            let labels = [
                uri.scheme_str().unwrap_or_default(),
                uri.authority().map_or("", |authority| authority.as_str()),
                action(uri.path()),
                observation.method.as_str(),
                &status,
            ];
            requests.with_label_values(&labels).inc();
            durations.with_label_values(&labels).observe(observation.latency.as_secs_f64());
        })
    }

    /// Renders all metrics in the Prometheus text format.
    pub fn render(&self, cache: &Cache) -> String {
        let mut families = self.registry.gather();
        families.extend(certificate_gauges(&cache.certificates));
        families.extend(issuer_gauges(cache));
        families.extend(challenge_gauges(&cache.challenges));
        // The encoder fails on a family without series.
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        let mut text = Vec::new();
        // Writing to memory can't fail.
        _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Guesses the action label from the path of a request. Servers choose their own paths, so this table covers the known
/// servers. The path itself would be a label of unbounded cardinality.
fn action(path: &str) -> &'static str {
    const KNOWN: [(&str, &str); 12] = [
        ("nonce", "get_nonce"),
        ("finalize", "create_order_cert"),
        ("my-order", "get_order"),
        ("order/", "get_order"),
        ("order", "authorize_order"),
        ("authz", "get_authorization"),
        ("chal", "accept_challenge"),
        ("cert", "fetch_cert"),
        ("acct", "register_account"),
        ("sign-me-up", "register_account"),
        ("renewal", "get_renewal_info"),
        ("dir", "discover"),
    ];
    let path = path.to_ascii_lowercase();
    KNOWN.iter().find(|(part, _)| path.contains(part)).map_or("other", |(_, action)| action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn action_recognizes_known_servers() {
        for (path, expected) in [
            ("/acme/new-nonce", "get_nonce"),
            ("/acme/new-order", "authorize_order"),
            ("/my-order/abc", "get_order"),
            ("/finalize-order/abc", "create_order_cert"),
            ("/authZ/abc", "get_authorization"),
            ("/chalZ/abc", "accept_challenge"),
            ("/certZ/abc", "fetch_cert"),
            ("/acme/order/1/2", "get_order"),
            ("/sign-me-up", "register_account"),
            ("/directory", "discover"),
            ("/dir", "discover"),
            ("/x", "other"),
        ] {
            assert_eq!(action(path), expected, "{path}");
        }
    }
}
