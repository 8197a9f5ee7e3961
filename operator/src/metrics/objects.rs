//! Gauges of Certificates, issuers, and Challenges, as they are in the cache when a scrape begins. Next: `scrape.rs`.

use std::sync::Arc;

use crds::{
    acme::{Challenge, ChallengeType, State},
    certmanager::{ClusterIssuer, Issuer},
    condition::{self, ConditionStatus, HasConditions},
};
use jiff::Timestamp;
use kube::Resource;

use super::{
    counts::Counts,
    text::{write_header, write_series},
};
use crate::{
    cache::{Cache, Gauge},
    objects::metadata::Identity,
};

/// A part of the text.
pub(super) enum Section {
    /// What only this operator has.
    Own,
    /// The state of objects.
    Gauges(Family),
    /// The time.
    Clock,
    /// Everything that is counted.
    Counters,
    /// What the process uses.
    Process,
}

/// All sections, in the order of the names of their families.
pub(super) static SECTIONS: [Section; 12] = [
    Section::Own,
    Section::Gauges(Family {
        name: "certmanager_certificate_challenge_status",
        help: "The status of certificate challenges",
        series: Series::Challenges(write_challenge),
    }),
    Section::Gauges(Family {
        name: "certmanager_certificate_expiration_timestamp_seconds",
        help: "The timestamp after which the certificate expires.",
        series: Series::Certificates(|text, name, it| write_certificate(text, name, it, it.not_after)),
    }),
    Section::Gauges(Family {
        name: "certmanager_certificate_not_after_timestamp_seconds",
        help: "The timestamp after which the certificate is invalid.",
        series: Series::Certificates(|text, name, it| write_certificate(text, name, it, it.not_after)),
    }),
    Section::Gauges(Family {
        name: "certmanager_certificate_not_before_timestamp_seconds",
        help: "The timestamp before which the certificate is invalid.",
        series: Series::Certificates(|text, name, it| write_certificate(text, name, it, it.not_before)),
    }),
    Section::Gauges(Family {
        name: "certmanager_certificate_ready_status",
        help: "The ready status of the certificate.",
        series: Series::Certificates(|text, name, it| {
            write_ready(text, name, it.ready, &certificate_labels(it));
        }),
    }),
    Section::Gauges(Family {
        name: "certmanager_certificate_renewal_timestamp_seconds",
        help: "The timestamp after which the certificate should be renewed.",
        series: Series::Certificates(|text, name, it| write_certificate(text, name, it, it.renewal_time)),
    }),
    Section::Clock,
    Section::Gauges(Family {
        name: "certmanager_clusterissuer_ready_status",
        help: "The ready status of the clusterissuer.",
        series: Series::ClusterIssuers,
    }),
    Section::Counters,
    Section::Gauges(Family {
        name: "certmanager_issuer_ready_status",
        help: "The ready status of the issuer.",
        series: Series::Issuers,
    }),
    Section::Process,
];

/// A family of gauges, with one or more series for each object of a kind.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    series: Series,
}

/// The kind of the objects, and how the series of one are written, if several families are about the kind.
enum Series {
    Certificates(fn(&mut String, &str, &Gauge)),
    Challenges(fn(&mut String, &str, &Challenge)),
    Issuers,
    ClusterIssuers,
}

/// The objects of a scrape.
pub(super) struct Objects {
    pub(super) counts: Counts,
    /// Empty if `/metrics` has no series for each Certificate and Challenge; so are the Challenges.
    certificates: Vec<Arc<Gauge>>,
    challenges: Vec<Arc<Challenge>>,
    issuers: Vec<Arc<Issuer>>,
    cluster_issuers: Vec<Arc<ClusterIssuer>>,
}

impl Objects {
    /// The objects that exist. `of_certificates` is whether Certificates and Challenges are among them: they are always counted.
    pub(super) fn of(cache: &Cache, of_certificates: bool, now: Timestamp) -> Self {
        Self {
            counts: Counts::of(cache, now),
            certificates: if of_certificates { cache.indexes.certificate_gauges.all() } else { Vec::new() },
            challenges: if of_certificates { cache.challenges.all() } else { Vec::new() },
            issuers: cache.issuers.all(),
            cluster_issuers: cache.cluster_issuers.all(),
        }
    }

    /// Appends the series of the objects from `first` on, until the text has reached a size in bytes. Returns the first object that
    /// is left; `None` if none is.
    pub(super) fn write(
        &self,
        text: &mut String,
        family: &Family,
        first: usize,
        size: usize,
    ) -> Option<usize> {
        let name = family.name;
        match family.series {
            Series::Certificates(write) => {
                write_family(text, family, &self.certificates, first, size, |text, it| write(text, name, it))
            }
            Series::Challenges(write) => {
                write_family(text, family, &self.challenges, first, size, |text, it| write(text, name, it))
            }
            Series::Issuers => write_family(text, family, &self.issuers, first, size, |text, it| {
                let labels = [("name", name_of(it)), ("namespace", it.namespace_or_empty())];
                write_ready(text, name, readiness(it), &labels);
            }),
            Series::ClusterIssuers => {
                write_family(text, family, &self.cluster_issuers, first, size, |text, it| {
                    write_ready(text, name, readiness(it), &[("name", name_of(it))]);
                })
            }
        }
    }
}

fn write_family<K>(
    text: &mut String,
    family: &Family,
    objects: &[Arc<K>],
    first: usize,
    size: usize,
    write: impl Fn(&mut String, &K),
) -> Option<usize> {
    if first == 0 && !objects.is_empty() {
        write_header(text, family.name, family.help);
    }
    for (index, object) in objects.iter().enumerate().skip(first) {
        write(text, object);
        if text.len() >= size {
            return Some(index + 1).filter(|next| *next < objects.len());
        }
    }
    None
}

fn name_of<K: Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

fn certificate_labels(certificate: &Gauge) -> [(&'static str, &str); 5] {
    let [issuer_group, issuer_kind, issuer_name, name, namespace] = certificate.names();
    [
        ("issuer_group", issuer_group),
        ("issuer_kind", issuer_kind),
        ("issuer_name", issuer_name),
        ("name", name),
        ("namespace", namespace),
    ]
}

fn write_certificate(text: &mut String, name: &str, certificate: &Gauge, value: i64) {
    write_series(text, name, &certificate_labels(certificate), value);
}

fn readiness(object: &impl HasConditions) -> ConditionStatus {
    let ready = condition::find(object.conditions(), condition::READY);
    ready.map_or(ConditionStatus::Unknown, |ready| ready.status)
}

fn write_challenge(text: &mut String, name: &str, challenge: &Challenge) {
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
    let status = challenge.status.as_ref();
    let current = status.and_then(|status| status.state);
    let is_processing = status.and_then(|status| status.processing).unwrap_or_default();
    for (label, state) in STATES {
        let labels = [
            ("domain", &*challenge.spec.dns_name),
            ("name", name_of(challenge)),
            ("namespace", challenge.namespace_or_empty()),
            ("processing", if is_processing { "true" } else { "false" }),
            // It stays empty: it has unbounded cardinality, and the Challenge shows it.
            ("reason", ""),
            ("status", label),
            (
                "type",
                match challenge.spec.type_ {
                    ChallengeType::Dns01 => "DNS-01",
                    ChallengeType::Http01 => "HTTP-01",
                },
            ),
        ];
        write_series(text, name, &labels, i64::from(current == state));
    }
}

/// Writes one series per possible status of `Ready`: 1 for the current status, 0 for the others. The label `condition` comes first.
fn write_ready(text: &mut String, name: &str, status: ConditionStatus, labels: &[(&str, &str)]) {
    for (label, state) in [
        ("False", ConditionStatus::False),
        ("True", ConditionStatus::True),
        ("Unknown", ConditionStatus::Unknown),
    ] {
        let labels: Vec<_> = [("condition", label)].into_iter().chain(labels.iter().copied()).collect();
        write_series(text, name, &labels, i64::from(status == state));
    }
}
