use k8s_openapi::api::networking::v1::{IngressSpec, IngressTLS};
use kube::api::ObjectMeta;

use super::*;

fn ingress(annotations: &[(&str, &str)], tls: &[(&str, &[&str])]) -> Ingress {
    let map = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let block = |(secret, hosts): &(&str, &[&str])| IngressTLS {
        hosts: Some(hosts.iter().map(ToString::to_string).collect()),
        secret_name: Some((*secret).to_owned()),
    };
    Ingress {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("a".into()),
            uid: Some("1".into()),
            annotations: Some(map),
            ..ObjectMeta::default()
        },
        spec: Some(IngressSpec { tls: Some(tls.iter().map(block).collect()), ..IngressSpec::default() }),
        status: None,
    }
}

fn settings() -> ShimSettings {
    ShimSettings { auto_annotations: vec![source::TLS_ACME.to_owned()], ..ShimSettings::default() }
}

fn decided(ingress: &Ingress, existing: &[Arc<Certificate>]) -> Decision {
    decide(ingress, existing, &settings())
}

const PROD: (&str, &str) = (source::CLUSTER_ISSUER, "letsencrypt-prod");

#[test]
fn the_example_of_the_readme_asks_for_one_certificate() {
    let decision = decided(&ingress(&[PROD], &[("web-tls", &["web.example.test"])]), &[]);
    let [certificate] = decision.create.as_slice() else { panic!("{decision:?}") };
    assert_eq!(certificate.name_any(), "web-tls");
    assert_eq!(certificate.spec.secret_name, "web-tls");
    assert_eq!(certificate.spec.dns_names.as_deref(), Some(["web.example.test".to_owned()].as_slice()));
    let issuer = certificate.spec.issuer_ref.identity();
    assert_eq!((issuer.kind, issuer.name), ("ClusterIssuer", "letsencrypt-prod"));
    assert!(controlled_by(&certificate.metadata, "Ingress").is_some());
}

#[test]
fn an_ingress_without_annotation_or_complete_block_asks_for_nothing() {
    assert_eq!(decided(&ingress(&[], &[("a", &["a.test"])]), &[]), Decision::default());
    assert_eq!(decided(&ingress(&[PROD], &[("", &["a.test"]), ("b", &[])]), &[]), Decision::default());
}

#[test]
fn what_is_as_it_shall_be_is_left_alone_and_what_is_not_is_changed() {
    let first = ingress(&[PROD], &[("a", &["a.test"]), ("b", &["b.test"])]);
    let made: Vec<_> = decided(&first, &[]).create.into_iter().map(Arc::new).collect();
    assert_eq!(decided(&first, &made), Decision::default());
    let changed = ingress(&[PROD], &[("a", &["a.test", "c.test"])]);
    let decision = decided(&changed, &made);
    assert_eq!(decision.delete, ["b"]);
    assert_eq!(decision.update.len(), 1);
    assert_eq!(decision.update[0].1.spec.dns_names.as_ref().map(Vec::len), Some(2));
    // Edit in place came, and went.
    let edited = ingress(&[PROD, (source::HTTP01_EDIT_IN_PLACE, "true")], &[("a", &["a.test"])]);
    let edited_made = vec![Arc::new(decided(&edited, &[]).create[0].clone())];
    assert_eq!(edited_made[0].annotations()[request::OVERRIDE_INGRESS_NAME], "web");
    assert_eq!(decided(&ingress(&[PROD], &[("a", &["a.test"])]), &edited_made).update.len(), 1);
}

#[test]
fn a_certificate_that_somebody_else_made_is_never_touched() {
    let ingress = ingress(&[PROD], &[("a", &["a.test"])]);
    let other = Arc::new(crds::fixtures::certificate("a", |_| {}));
    assert_eq!(decided(&ingress, &[other]), Decision::default());
}

#[test]
fn annotations_become_fields() {
    let annotations = [
        PROD,
        (source::COMMON_NAME, "a.test"),
        (source::ALT_NAMES, "b.test, a.test"),
        (source::IP_SANS, "192.0.2.1"),
        (source::SUBJECT_ORGANIZATIONS, r#"Example,"Smith, Jones""#),
        (source::DURATION, "48h"),
        (source::RENEW_BEFORE_PERCENTAGE, "25"),
        (source::USAGES, "server auth,digital signature"),
        (source::PRIVATE_KEY_ALGORITHM, "ECDSA"),
        (source::PRIVATE_KEY_SIZE, "384"),
        (source::SECRET_TEMPLATE, r#"{"labels":{"x":"y"}}"#),
    ];
    let decision = decided(&ingress(&annotations, &[("a", &["a.test"])]), &[]);
    let spec = &decision.create.first().unwrap_or_else(|| panic!("{decision:?}")).spec;
    assert_eq!(spec.dns_names.as_deref(), Some(["a.test".to_owned(), "b.test".to_owned()].as_slice()));
    let subject = spec.subject.as_ref().expect("a subject");
    assert_eq!(
        subject.organizations.as_deref(),
        Some(["Example".to_owned(), "Smith, Jones".to_owned()].as_slice())
    );
    assert_eq!(spec.usages.as_deref(), Some([KeyUsage::ServerAuth, KeyUsage::DigitalSignature].as_slice()));
    let key = spec.private_key.as_ref().expect("a key");
    assert_eq!((key.algorithm, key.size), (Some(KeyAlgorithm::ECDSA), Some(384)));
    assert_eq!(spec.secret_template.as_ref().and_then(|it| it.labels.as_ref()).map(BTreeMap::len), Some(1));
}

#[test]
fn a_mistake_is_told_and_changes_nothing() {
    let block: &[(&str, &[&str])] = &[("a", &["a.test"])];
    let made = vec![Arc::new(decided(&ingress(&[PROD], block), &[]).create[0].clone())];
    for (annotations, word) in [
        (vec![PROD, (source::ISSUER, "other")], "excludes"),
        (vec![PROD, (source::DURATION, "48")], source::DURATION),
        (vec![PROD, (source::PRIVATE_KEY_ALGORITHM, "DSA")], source::PRIVATE_KEY_ALGORITHM),
        (vec![PROD, (source::SECRET_TEMPLATE, r#"{"other":{}}"#)], source::SECRET_TEMPLATE),
        (vec![PROD, (source::HTTP01_EDIT_IN_PLACE, "true"), (source::HTTP01_INGRESS_CLASS, "x")], "only one"),
        (vec![(source::TLS_ACME, "true")], "--default-issuer-name"),
    ] {
        let decision = decided(&ingress(&annotations, block), &made);
        let [note] = decision.notes.as_slice() else { panic!("{decision:?}") };
        assert!(note.warning && note.reason == "BadConfig" && note.message.contains(word), "{note:?}");
        assert!(decision.create.is_empty() && decision.update.is_empty() && decision.delete.is_empty());
    }
    let twice = ingress(&[PROD], &[("a", &["a.test"]), ("a", &["b.test"])]);
    assert!(decided(&twice, &[]).notes[0].message.contains("two blocks"));
}

#[test]
fn tls_acme_takes_the_default_issuer() {
    let default = IssuerRef { name: "default".into(), ..IssuerRef::default() };
    let settings = ShimSettings { default_issuer: Some(default), ..settings() };
    let decision = decide(&ingress(&[(source::TLS_ACME, "true")], &[("a", &["a.test"])]), &[], &settings);
    assert_eq!(decision.create[0].spec.issuer_ref.name, "default");
}
