//! Gauges of Certificates, issuers, and Challenges, computed from the cache on each scrape. Next: `mod.rs`.

use crds::{
    acme::{Challenge, ChallengeType, State},
    certmanager::Certificate,
    condition::{self, ConditionStatus, HasConditions},
};
use kube::ResourceExt;
use prometheus::{GaugeVec, Opts, core::Collector};

use crate::cache::{Cache, Kind};

/// The labels of all gauges of Certificates.
const CERTIFICATE: [&str; 5] = ["name", "namespace", "issuer_name", "issuer_kind", "issuer_group"];

fn gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), labels).expect("names and labels are well-formed")
}

pub(super) fn certificate_gauges(certificates: &Kind<Certificate>) -> Vec<prometheus::proto::MetricFamily> {
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

pub(super) fn issuer_gauges(cache: &Cache) -> Vec<prometheus::proto::MetricFamily> {
    let issuers = gauges(
        "certmanager_issuer_ready_status",
        "The ready status of the issuer.",
        &["name", "namespace", "condition"],
    );
    for issuer in cache.issuers.all() {
        let (name, namespace) = (issuer.name_any(), issuer.namespace().unwrap_or_default());
        set_conditions(&issuers, &[&name, &namespace], issuer.conditions());
    }
    let cluster = gauges(
        "certmanager_clusterissuer_ready_status",
        "The ready status of the clusterissuer.",
        &["name", "condition"],
    );
    for issuer in cache.cluster_issuers.all() {
        set_conditions(&cluster, &[&issuer.name_any()], issuer.conditions());
    }
    [issuers, cluster].iter().flat_map(Collector::collect).collect()
}

pub(super) fn challenge_gauges(challenges: &Kind<Challenge>) -> Vec<prometheus::proto::MetricFamily> {
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
            // The reason stays empty: it has unbounded cardinality, and the Challenge shows it.
            let labels = [label, &challenge.spec.dns_name, "", &processing, &name, &namespace, type_];
            gauge.with_label_values(&labels).set(f64::from(u8::from(status.state == state)));
        }
    }
    gauge.collect()
}

/// Sets one series per possible status of `Ready`: 1 for the current status, 0 for the others.
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
