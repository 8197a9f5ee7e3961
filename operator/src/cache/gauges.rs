//! What `/metrics` says about each Certificate: most Certificates are packed, and a scrape must not unpack them all.
//!
//! Knows which facts there are; must not know how they are written. Next: `metrics/objects.rs`.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, Mutex},
};

use crds::{
    certmanager::Certificate,
    condition::{self, ConditionStatus, HasConditions},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::{objects::metadata::Identity, sync::lock};

/// How many names a Certificate has in metrics.
const NAMES: usize = 5;

/// What `/metrics` says about a Certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct Gauge {
    /// All names, one after another: a text of its own for each would take more memory than the text.
    text: Box<str>,
    ends: [u32; NAMES],
    /// `status.notBefore`, seconds since 1970, UTC; 0 if it is not known. So are the others.
    pub not_before: i64,
    /// `status.notAfter`.
    pub not_after: i64,
    /// `status.renewalTime`.
    pub renewal_time: i64,
    /// The status of its condition `Ready`.
    pub ready: ConditionStatus,
}

impl Gauge {
    /// What a Certificate says.
    pub fn of(certificate: &Certificate) -> Self {
        let issuer = certificate.spec.issuer_ref.identity();
        let name = certificate.name_any();
        let names = [issuer.group, issuer.kind, issuer.name, &*name, certificate.namespace_or_empty()];
        let mut length = 0;
        let ends = names.map(|name| {
            length += name.len();
            u32::try_from(length).expect("an object is smaller than 4 GiB")
        });
        let status = certificate.status.as_ref();
        let seconds = |time: Option<&Time>| time.map_or(0, |time| time.0.as_second());
        Self {
            text: names.concat().into(),
            ends,
            not_before: seconds(status.and_then(|it| it.not_before.as_ref())),
            not_after: seconds(status.and_then(|it| it.not_after.as_ref())),
            renewal_time: seconds(status.and_then(|it| it.renewal_time.as_ref())),
            ready: condition::find(certificate.conditions(), condition::READY)
                .map_or(ConditionStatus::Unknown, |ready| ready.status),
        }
    }

    /// Group, kind, and name of its issuer, its own name, and its namespace.
    pub fn names(&self) -> [&str; NAMES] {
        let mut begin = 0;
        self.ends.map(|end| {
            let end = usize::try_from(end).unwrap_or(usize::MAX);
            let name = self.text.get(begin..end).unwrap_or_default();
            begin = end;
            name
        })
    }
}

/// The gauges of all Certificates. Like an [`super::Index`], it has only hashes of namespaces and names as keys.
#[derive(Default)]
pub struct Gauges {
    hasher: RandomState,
    gauges: Mutex<HashMap<u64, Arc<Gauge>>>,
}

impl Gauges {
    /// Notes that a Certificate exists, or that it does not exist any more.
    pub(super) fn note(&self, certificate: &Certificate, exists: bool) {
        let key =
            self.hasher.hash_one((certificate.namespace_or_empty(), certificate.metadata.name.as_deref()));
        let mut gauges = lock(&self.gauges);
        if exists {
            gauges.insert(key, Arc::new(Gauge::of(certificate)));
        } else {
            gauges.remove(&key);
        }
    }

    /// The gauges as they are now, in no particular order.
    pub fn all(&self) -> Vec<Arc<Gauge>> {
        lock(&self.gauges).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use crds::fixtures;

    use super::*;

    #[test]
    fn names_are_taken_apart_again() {
        let certificate = |name: &str| {
            fixtures::certificate(name, |it| {
                it.metadata.namespace = Some("tenant".to_owned());
                it.spec.issuer_ref.name = "ä\u{0}\"".to_owned();
                it.spec.issuer_ref.kind = Some("ClusterIssuer".to_owned());
            })
        };
        let gauges = Gauges::default();
        gauges.note(&certificate("web"), true);
        gauges.note(&certificate("web"), true);
        gauges.note(&certificate("other"), true);
        gauges.note(&certificate("other"), false);
        let all = gauges.all();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].names(), ["cert-manager.io", "ClusterIssuer", "ä\u{0}\"", "web", "tenant"]);
        assert_eq!((all[0].not_after, all[0].ready), (0, ConditionStatus::Unknown));
    }
}
