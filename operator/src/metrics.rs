//! Figures about the process and what it looks after, under the names that cert-manager's dashboards and alerts know.

use std::sync::Arc;

use crds::{
    acme::{Challenge, ChallengeType, State},
    certmanager::Certificate,
    condition::{self, ConditionStatus},
};
use hyper::Uri;
use kube::ResourceExt;
use prometheus::{
    CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder, core::Collector,
};

use crate::{
    acme::Observer,
    cache::{Cache, Kind},
    failpoint,
};

/// The labels of a Certificate.
const CERTIFICATE: [&str; 5] = ["name", "namespace", "issuer_name", "issuer_kind", "issuer_group"];

/// Figures that are counted as things happen. What is known of objects is read from the stores when somebody asks.
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
        Self::new().expect("the names and labels above are well-formed and different")
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

    /// A reconcile came to its end.
    pub fn synced(&self, controller: &str, failed: bool) {
        self.sync_calls.with_label_values(&[controller]).inc();
        if failed {
            self.sync_errors.with_label_values(&[controller]).inc();
        }
    }

    /// What counts the requests to ACME servers.
    pub fn acme_observer(&self) -> Observer {
        let (requests, durations) = (self.acme_requests.clone(), self.acme_durations.clone());
        Arc::new(move |seen| {
            failpoint::passed(seen.url);
            let uri: Uri = seen.url.parse().unwrap_or_default();
            let status = seen.status.map_or_else(|| "999".to_owned(), |status| status.as_u16().to_string());
            let labels = [
                uri.scheme_str().unwrap_or_default(),
                uri.authority().map_or("", |authority| authority.as_str()),
                action(uri.path()),
                seen.method.as_str(),
                &status,
            ];
            requests.with_label_values(&labels).inc();
            durations.with_label_values(&labels).observe(seen.latency.as_secs_f64());
        })
    }

    /// All figures, in Prometheus' text format.
    pub fn render(&self, cache: &Cache) -> String {
        let mut families = self.registry.gather();
        families.extend(of_certificates(&cache.certificates));
        families.extend(of_issuers(cache));
        families.extend(of_challenges(&cache.challenges));
        // The encoder takes a family without series for a mistake.
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        let mut text = Vec::new();
        // Writing to memory does not fail.
        _ = TextEncoder::new().encode(&families, &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

/// What a path at an ACME server most likely is for: servers choose their own paths, so this is what is common to those that
/// are known. Never the path itself, of which there are endless many.
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

fn gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), labels).expect("the names and labels here are well-formed")
}

fn of_certificates(certificates: &Kind<Certificate>) -> Vec<prometheus::proto::MetricFamily> {
    let with_condition: Vec<_> = CERTIFICATE.iter().copied().chain(["condition"]).collect();
    let ready = gauges(
        "certmanager_certificate_ready_status",
        "The ready status of the certificate.",
        &with_condition,
    );
    let time = |what: &str, help: &str| {
        gauges(&format!("certmanager_certificate_{what}_timestamp_seconds"), help, &CERTIFICATE)
    };
    let not_after = time("not_after", "The timestamp after which the certificate is invalid.");
    let not_before = time("not_before", "The timestamp before which the certificate is invalid.");
    let expiration = time("expiration", "The timestamp after which the certificate expires.");
    let renewal = time("renewal", "The timestamp after which the certificate should be renewed.");
    for certificate in certificates.all() {
        let (name, namespace) = (certificate.name_any(), certificate.namespace().unwrap_or_default());
        let issuer = certificate.spec.issuer_ref.identity();
        let labels = [&*name, &*namespace, issuer.name, issuer.kind, issuer.group];
        let status = certificate.status.clone().unwrap_or_default();
        let seconds = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
            // Seconds since 1970 fit 53 bits for the next 285 million years.
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit 53 bits")]
            time.as_ref().map_or(0.0, |time| time.0.as_second() as f64)
        };
        not_after.with_label_values(&labels).set(seconds(&status.not_after));
        expiration.with_label_values(&labels).set(seconds(&status.not_after));
        not_before.with_label_values(&labels).set(seconds(&status.not_before));
        renewal.with_label_values(&labels).set(seconds(&status.renewal_time));
        set_conditions(&ready, &labels, &status.conditions);
    }
    [ready, not_after, not_before, expiration, renewal].iter().flat_map(Collector::collect).collect()
}

fn of_issuers(cache: &Cache) -> Vec<prometheus::proto::MetricFamily> {
    let issuers = gauges(
        "certmanager_issuer_ready_status",
        "The ready status of the issuer.",
        &["name", "namespace", "condition"],
    );
    for issuer in cache.issuers.all() {
        let (name, namespace) = (issuer.name_any(), issuer.namespace().unwrap_or_default());
        let conditions = issuer.status.as_ref().map_or(&[][..], |status| &status.conditions);
        set_conditions(&issuers, &[&name, &namespace], conditions);
    }
    let cluster = gauges(
        "certmanager_clusterissuer_ready_status",
        "The ready status of the clusterissuer.",
        &["name", "condition"],
    );
    for issuer in cache.cluster_issuers.all() {
        let conditions = issuer.status.as_ref().map_or(&[][..], |status| &status.conditions);
        set_conditions(&cluster, &[&issuer.name_any()], conditions);
    }
    [issuers, cluster].iter().flat_map(Collector::collect).collect()
}

fn of_challenges(challenges: &Kind<Challenge>) -> Vec<prometheus::proto::MetricFamily> {
    const STATES: [(&str, Option<State>); 8] = [
        ("", None),
        ("pending", Some(State::Pending)),
        ("ready", Some(State::Ready)),
        ("processing", Some(State::Processing)),
        ("valid", Some(State::Valid)),
        ("invalid", Some(State::Invalid)),
        ("expired", Some(State::Expired)),
        ("errored", Some(State::Errored)),
    ];
    let gauge = gauges(
        "certmanager_certificate_challenge_status",
        "The status of certificate challenges",
        &["status", "domain", "reason", "processing", "name", "namespace", "type"],
    );
    for challenge in challenges.all() {
        let (name, namespace) = (challenge.name_any(), challenge.namespace().unwrap_or_default());
        let status = challenge.status.clone().unwrap_or_default();
        let type_ = match challenge.spec.type_ {
            ChallengeType::Dns01 => "DNS-01",
            ChallengeType::Http01 => "HTTP-01",
        };
        let processing = status.processing.unwrap_or_default().to_string();
        for (label, state) in STATES {
            // The reason has endless many values, and stands on the Challenge.
            let labels = [label, &challenge.spec.dns_name, "", &processing, &name, &namespace, type_];
            gauge.with_label_values(&labels).set(f64::from(u8::from(status.state == state)));
        }
    }
    gauge.collect()
}

/// One series for each state that `Ready` may have: 1 for the one that it has.
fn set_conditions(gauges: &GaugeVec, labels: &[&str], conditions: &[condition::Condition]) {
    let status =
        condition::find(conditions, condition::READY).map_or(ConditionStatus::Unknown, |ready| ready.status);
    for (name, state) in [
        ("True", ConditionStatus::True),
        ("False", ConditionStatus::False),
        ("Unknown", ConditionStatus::Unknown),
    ] {
        let labels: Vec<_> = labels.iter().copied().chain([name]).collect();
        gauges.with_label_values(&labels).set(f64::from(u8::from(status == state)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_known_servers_have_their_actions() {
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
