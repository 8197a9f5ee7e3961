//! Prometheus metrics with the names and help texts of cert-manager, so that its dashboards and alerts keep working.
//! Must not use labels from open sets. Next: `scrape/mod.rs` for the text, `objects.rs` for gauges of objects.

mod clock_time;
mod counts;
mod objects;
mod own;
mod scrape;
mod text;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use hyper::Uri;
use prometheus::{
    CounterVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder, process_collector::ProcessCollector,
};

pub use self::scrape::{PAUSE_FACTOR, Scrapes};
use self::{clock_time::ClockTime, counts::Counts, own::Own};
use crate::{
    acme::Observer,
    clock::{Clock, SystemClock},
    failpoint,
    sync::lock,
};

/// How many ACME servers have a `host` label of their own. Issuers name them, so their number is not bounded.
pub const MAX_HOSTS: usize = 32;

/// The value of a label for everything that has no value of its own.
const OTHER: &str = "other";

/// Counters of events. Gauges of objects are written from the cache on each scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    clock: Arc<dyn Clock>,
    registry: Registry,
    own: Own,
    of_clock: Registry,
    of_process: Registry,
    sync_calls: CounterVec,
    sync_errors: CounterVec,
    acme_requests: CounterVec,
    acme_durations: HistogramVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl Metrics {
    /// Returns counters that are zero. The clock is exported as well.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::register(clock).expect("names and labels are well-formed and unique")
    }

    fn register(clock: Arc<dyn Clock>) -> prometheus::Result<Self> {
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
        // Families are in the order of their names, so these come before and after others.
        let (of_clock, of_process) = (Registry::new(), Registry::new());
        of_clock.register(Box::new(ClockTime::new(Arc::clone(&clock))?))?;
        of_process.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self {
            clock,
            registry,
            own: Own::new()?,
            of_clock,
            of_process,
            sync_calls,
            sync_errors,
            acme_requests,
            acme_durations,
        })
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
        let hosts = Hosts::default();
        Arc::new(move |observation| {
            failpoint::passed(observation.url);
            let uri: Uri = observation.url.parse().unwrap_or_default();
            let status =
                observation.status.map_or_else(|| "999".to_owned(), |status| status.as_u16().to_string());
            let labels = [
                uri.scheme_str().unwrap_or_default(),
                hosts.label(&uri, observation.directory),
                observation.action.as_str(),
                observation.method.as_str(),
                &status,
            ];
            requests.with_label_values(&labels).inc();
            durations.with_label_values(&labels).observe(observation.latency.as_secs_f64());
        })
    }

    /// Appends everything that is counted, in the Prometheus text format.
    fn write_counters(&self, text: &mut String) {
        write(text, &self.registry);
    }

    /// Notes whether this process is the leader.
    pub fn set_leader(&self, leads: bool) {
        self.own.leader.set(leads.into());
    }

    /// Has each scrape ask for the number of new orders that wait for the limit of their CA.
    pub fn set_waiting_orders(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        self.own.set_waiting_orders(count);
    }

    /// Appends what only this operator has.
    fn write_own(&self, text: &mut String, counts: &Counts) {
        self.own.refresh(counts);
        write(text, &self.own.registry);
    }

    /// Appends the time.
    fn write_clock(&self, text: &mut String) {
        write(text, &self.of_clock);
    }

    /// Appends what the process uses.
    fn write_process(&self, text: &mut String) {
        write(text, &self.of_process);
    }
}

fn write(text: &mut String, registry: &Registry) {
    // The encoder fails on a family without series, which the registry leaves out.
    _ = TextEncoder::new().encode_utf8(&registry.gather(), text);
}

/// The values of the label `host`: the servers whose directories are in use.
#[derive(Default)]
struct Hosts(Mutex<HashSet<String>>);

impl Hosts {
    /// Returns the label of a request. Servers choose the URLs that follow from their directory, and an issuer names any directory:
    /// other hosts than the directory's, and further directories than the first ones, have no label of their own.
    fn label<'a>(&self, uri: &'a Uri, directory: &str) -> &'a str {
        let Some(host) = uri.authority().map(hyper::http::uri::Authority::as_str) else { return OTHER };
        let directory: Uri = directory.parse().unwrap_or_default();
        if directory.authority().is_none_or(|authority| authority != host) {
            return OTHER;
        }
        let mut known = lock(&self.0);
        if known.contains(host) || (known.len() < MAX_HOSTS && known.insert(host.to_owned())) {
            host
        } else {
            OTHER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the directories of issuers have a label, and only so many.
    #[test]
    fn hosts_are_bounded_directories() {
        let metrics = Metrics::default();
        let observe = metrics.acme_observer();
        let request = |directory: &str, url: &str| {
            observe(&crate::acme::Observation {
                url,
                directory,
                action: crate::acme::Action::GetOrder,
                method: &hyper::Method::GET,
                status: None,
                latency: std::time::Duration::from_secs(1),
            });
        };
        for server in 0..1000 {
            let directory = format!("https://ca-{server}.example.test/directory");
            request(&directory, &format!("https://ca-{server}.example.test/order/1"));
            // The server sends the operator to hosts that it makes up.
            request(&directory, &format!("https://authz-{server}.example.test/authz/1"));
        }
        let mut text = String::new();
        metrics.write_counters(&mut text);
        let count = |part: &str| {
            text.lines().filter(|line| line.contains("request_count{") && line.contains(part)).count()
        };
        assert_eq!(count("host=\"ca-"), MAX_HOSTS);
        assert_eq!(count("host=\"authz-"), 0);
        assert_eq!(count("host=\"other\""), 1, "one for each action");
    }
}
