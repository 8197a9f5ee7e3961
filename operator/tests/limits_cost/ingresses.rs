//! Ingresses with as many TLS blocks, hosts, annotations, and labels as fit into an object.

use std::sync::Arc;

use crds::annotations::source;
use k8s_openapi::api::networking::v1::{Ingress, IngressSpec, IngressTLS};
use operator::decision::shim::{self, CertificateSource, Change, ShimSettings};
use proptest::{prelude::*, sample::select};

use super::{LARGEST_OBJECT, measured, runner};

fn ingress() -> impl Strategy<Value = Ingress> {
    let blocks = select(vec![1, 40, 100, 101, 30_000]);
    let hosts = select(vec![0, 1, 100, 1000, 100_000]);
    let annotations = select(vec![0, 20_000, 60_000, 250_000]);
    (blocks, hosts, annotations, any::<bool>()).prop_map(|(blocks, hosts, bytes, are_labels)| {
        let room = LARGEST_OBJECT / blocks / 40;
        let block = |number: usize| IngressTLS {
            hosts: Some((0..hosts.min(room)).map(|host| format!("h{host}.b{number}.test")).collect()),
            secret_name: Some(format!("secret-{number}")),
        };
        let name = |number: usize| format!("n{number}.test");
        let alt_names = (0..bytes / 11).map(name).collect::<Vec<_>>().join(",");
        let mut ingress = Ingress {
            spec: Some(IngressSpec { tls: Some((0..blocks).map(block).collect()), ..IngressSpec::default() }),
            ..Ingress::default()
        };
        let issuer = (source::CLUSTER_ISSUER.to_owned(), "letsencrypt".to_owned());
        let alt_names = (source::ALT_NAMES.to_owned(), alt_names);
        ingress.metadata.annotations = Some([issuer, alt_names].into());
        let labels = (0..bytes / 70).map(|number| (name(number), "x".repeat(60)));
        ingress.metadata.labels = are_labels.then(|| labels.collect());
        (ingress.metadata.name, ingress.metadata.uid) = (Some("web".into()), Some("1".into()));
        ingress
    })
}

pub(crate) fn ingresses_cost_little() {
    let settings = ShimSettings::default();
    let checked = runner().run(&ingress(), |ingress| {
        let (created, mut existing) = measured("a new Ingress", || {
            let source = CertificateSource::from(&ingress);
            let decision = shim::decide(&source, &[], &settings);
            assert!(
                decision.notes.iter().all(|note| note.message.len() <= 1000) && decision.notes.len() <= 100
            );
            let mut last = None;
            let created = decision.changes.inspect(|change| last = Some(change.clone())).count();
            (created, last)
        })?;
        prop_assert!(created <= shim::MOST_BLOCKS);
        let Some(Change::Create(certificate)) = existing.take() else { return Ok(()) };
        let existing = [Arc::new(*certificate)];
        measured("an Ingress with a Certificate", || {
            let source = CertificateSource::from(&ingress);
            assert_eq!(shim::decide(&source, &existing, &settings).changes.count(), created - 1);
        })
    });
    checked.expect("it costs little");
}
