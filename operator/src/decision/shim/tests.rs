use crds::{
    annotations::{request, source},
    certmanager::{KeyAlgorithm, KeyUsage},
};
use k8s_openapi::{
    api::networking::v1::{Ingress, IngressSpec, IngressTLS},
    apimachinery::pkg::apis::meta::v1::FieldsV1,
};

use super::*;
use crate::objects::metadata::controller_of_kind;

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

/// A decision with all of its changes.
#[derive(Debug, Default, PartialEq)]
struct Decided {
    create: Vec<Certificate>,
    update: Vec<Update>,
    delete: Vec<String>,
    notes: Vec<EventNote>,
}

fn decided(ingress: &Ingress, existing: &[Arc<Certificate>]) -> Decided {
    decided_with(ingress, existing, &settings())
}

fn decided_with(ingress: &Ingress, existing: &[Arc<Certificate>], settings: &ShimSettings) -> Decided {
    let source = CertificateSource::from(ingress);
    let Decision { changes, delete, notes } = decide(&source, existing, settings);
    let mut decided = Decided { delete, notes, ..Decided::default() };
    for change in changes {
        match change {
            Change::Create(certificate) => decided.create.push(*certificate),
            Change::Update(update) => decided.update.push(update),
            Change::LeaveAlone { name, owner } => {
                decided.notes.push(of_another(source.kind, &name, &owner));
            }
        }
    }
    decided
}

/// The Certificates that exist after those that an Ingress asks for have been created.
fn created(ingress: &Ingress) -> Vec<Arc<Certificate>> {
    decided(ingress, &[]).create.into_iter().map(Arc::new).collect()
}

const PROD: (&str, &str) = (source::CLUSTER_ISSUER, "letsencrypt-prod");

/// The README's example.
#[test]
fn one_tls_block_asks_for_one_certificate() {
    let decision = decided(&ingress(&[PROD], &[("web-tls", &["web.example.test"])]), &[]);
    let [certificate] = decision.create.as_slice() else { panic!("{decision:?}") };
    assert_eq!(certificate.name_any(), "web-tls");
    assert_eq!(certificate.spec.secret_name, "web-tls");
    assert_eq!(certificate.spec.dns_names.as_deref(), Some(["web.example.test".to_owned()].as_slice()));
    let issuer = certificate.spec.issuer_ref.identity();
    assert_eq!((issuer.kind, issuer.name), ("ClusterIssuer", "letsencrypt-prod"));
    let owner = controller_of_kind::<Ingress>(&certificate.metadata).expect("the Ingress as its controller");
    assert_eq!((&*owner.name, &*owner.uid, owner.block_owner_deletion), ("web", "1", Some(true)));
}

#[test]
fn incomplete_ingress_asks_for_nothing() {
    assert_eq!(decided(&ingress(&[], &[("a", &["a.test"])]), &[]), Decided::default(), "no annotation");
}

#[test]
fn incomplete_blocks_are_reported_and_others_issued() {
    let decision = decided(&ingress(&[PROD], &[("", &["a.test"]), ("b", &[]), ("c", &["c.test"])]), &[]);
    assert_eq!(decision.create.len(), 1);
    let messages: Vec<_> = decision.notes.iter().map(|note| note.message.as_str()).collect();
    assert!(messages[0].starts_with("spec.tls[0] has no secretName"), "{messages:?}");
    assert!(messages[1].starts_with("spec.tls[1] has no hosts"), "{messages:?}");
    let empty = decided(&ingress(&[PROD], &[]), &[]);
    assert!(empty.notes[0].message.starts_with("spec.tls is empty"), "{empty:?}");
}

#[test]
fn misspelled_annotation_is_reported() {
    let tls: [(&str, &[&str]); 1] = [("a", &["a.test"])];
    for name in ["cert-manager.io/isuer", "cert-manager/issuer", "certmanager.k8s.io/cluster-issuer"] {
        let decision = decided(&ingress(&[(name, "letsencrypt")], &tls), &[]);
        let [note] = decision.notes.as_slice() else { panic!("{decision:?}") };
        assert!(note.warning && note.message.contains(name), "{note:?}");
    }
    for name in ["cert-manager.io/duration", "cert-manager.io/issuer-kind", "example.com/issuer"] {
        assert_eq!(decided(&ingress(&[(name, "x")], &tls), &[]), Decided::default(), "{name}");
    }
}

#[test]
fn addresses_among_hosts_become_ip_addresses() {
    let decision = decided(&ingress(&[PROD], &[("a", &["192.0.2.1", "a.test", "2001:db8::1"])]), &[]);
    let spec = &decision.create[0].spec;
    assert_eq!(spec.dns_names.as_deref(), Some(["a.test".to_owned()].as_slice()));
    assert_eq!(spec.ip_addresses.as_deref(), Some(["192.0.2.1", "2001:db8::1"].map(String::from).as_slice()));
    let decision = decided(&ingress(&[PROD], &[("a", &["192.0.2.1"])]), &[]);
    assert_eq!(decision.create[0].spec.dns_names, None);
}

/// A slip in a chart's values must not take away a working certificate.
#[test]
fn certificates_are_kept_without_an_issuer() {
    let tls: &[(&str, &[&str])] = &[("a", &["a.test"])];
    let existing = created(&ingress(&[PROD], tls));
    let empty = decided(&ingress(&[(source::CLUSTER_ISSUER, " ")], tls), &existing);
    assert!(empty.notes[0].warning && empty.notes[0].reason == Reason::BadConfig, "{empty:?}");
    let removed = decided(&ingress(&[], tls), &existing);
    assert!(removed.notes[0].message.ends_with("delete them: a"), "{removed:?}");
    assert!(empty.delete.is_empty() && removed.delete.is_empty());
}

#[test]
fn fields_of_users_are_kept_and_those_of_annotations_removed() {
    let tls: &[(&str, &[&str])] = &[("a", &["a.test"])];
    let before = created(&ingress(&[PROD, (source::DURATION, "48h")], tls));
    let mut edited = (*before[0]).clone();
    edited.spec.usages = None;
    edited.spec.renew_before_percentage = Some(20);
    let decision = decided(&ingress(&[PROD], tls), &[Arc::new(edited)]);
    let [update] = decision.update.as_slice() else { panic!("{decision:?}") };
    assert!(update.is_same, "usages that were never set are not added: {update:?}");
    let fields = json!({ "f:spec": { "f:duration": {}, "f:dnsNames": {} } });
    let managed = [ManagedFieldsEntry {
        manager: Some("shim".into()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    }];
    let Checked::Patch(patch) = checked(update, "shim", &managed) else { panic!("{update:?}") };
    assert_eq!(patch["spec"], json!({ "duration": null }));
    assert_eq!(checked(update, "other", &managed), Checked::Same, "a user has set both");
}

/// The Ingress or its Certificate was restored, or the Ingress was deleted without its Certificates.
#[test]
fn certificate_without_its_owner_is_adopted() {
    let web = ingress(&[PROD], &[("a", &["a.test"])]);
    let certificate = (*created(&web)[0]).clone();
    let owner = |change: fn(&mut OwnerReference)| {
        let mut owner = certificate.metadata.owner_references.clone().expect("an owner").remove(0);
        change(&mut owner);
        Some(vec![owner])
    };
    for owners in [None, owner(|owner| owner.uid = "0".into())] {
        let mut orphan = certificate.clone();
        orphan.metadata.owner_references = owners;
        let decision = decided(&web, &[Arc::new(orphan)]);
        let [update] = decision.update.as_slice() else { panic!("{decision:?}") };
        assert_eq!(update.patch["metadata"]["ownerReferences"][0]["uid"], "1");
        assert_eq!(update.patch.get("spec"), None, "nothing is issued again");
        if update.if_created_by_shim {
            assert_eq!(checked(update, "shim", &[]), Checked::LeftAlone, "a user's Certificate");
        }
    }
    let mut others = certificate.clone();
    others.metadata.owner_references = owner(|owner| (owner.name, owner.uid) = ("other".into(), "2".into()));
    let decision = decided(&web, &[Arc::new(others)]);
    assert!(decision.update.is_empty() && decision.notes[0].message.contains("\"a\" was created for"));
}

#[test]
fn only_differences_are_written() {
    let first = ingress(&[PROD], &[("a", &["a.test"]), ("b", &["b.test"])]);
    assert_eq!(decided(&first, &created(&first)), Decided::default(), "nothing differs");
    let decision = decided(&ingress(&[PROD], &[("a", &["a.test", "c.test"])]), &created(&first));
    assert_eq!(decision.delete, ["b"]);
    let [update] = decision.update.as_slice() else { panic!("{decision:?}") };
    assert_eq!(update.name, "a");
    assert_eq!(update.patch["spec"], json!({ "dnsNames": ["a.test", "c.test"] }));
}

#[test]
fn removed_override_is_removed_from_certificate() {
    let tls: &[(&str, &[&str])] = &[("a", &["a.test"])];
    let existing = created(&ingress(&[PROD, (source::HTTP01_EDIT_IN_PLACE, "true")], tls));
    assert_eq!(existing[0].annotations()[request::OVERRIDE_INGRESS_NAME], "web");
    let decision = decided(&ingress(&[PROD], tls), &existing);
    let [update] = decision.update.as_slice() else { panic!("{decision:?}") };
    assert_eq!(
        update.patch["metadata"]["annotations"],
        json!({ request::OVERRIDE_INGRESS_NAME: null, request::ISSUE_TEMPORARY_CERTIFICATE: null })
    );
}

#[test]
fn ingress_is_edited_if_its_controller_needs_that() {
    for (annotation, expected) in [
        (None, Some("web")),
        (Some((source::HTTP01_EDIT_IN_PLACE, "true")), Some("web")),
        (Some((source::HTTP01_EDIT_IN_PLACE, "false")), None),
        (Some((source::HTTP01_INGRESS_CLASS_NAME, "other")), None),
    ] {
        let annotations: Vec<_> = [PROD].into_iter().chain(annotation).collect();
        let ingress = ingress(&annotations, &[("a", &["a.test"])]);
        let source = CertificateSource { edit: Edit::Always, ..CertificateSource::from(&ingress) };
        let settings = ShimSettings::default();
        let Some(Change::Create(certificate)) = decide(&source, &[], &settings).changes.next() else {
            panic!("no Certificate for {annotation:?}")
        };
        let of = |name: &str| certificate.annotations().get(name).map(String::as_str);
        assert_eq!(of(request::OVERRIDE_INGRESS_NAME), expected, "{annotation:?}");
        assert_eq!(of(request::ISSUE_TEMPORARY_CERTIFICATE), expected.map(|_| "true"), "{annotation:?}");
    }
}

/// The API server may not be able to say which controller serves a class, for example while it starts.
#[test]
fn edited_ingress_stays_so_while_its_controller_is_unknown() {
    let tls: &[(&str, &[&str])] = &[("a", &["a.test"])];
    let (plain, asking) =
        (ingress(&[PROD], tls), ingress(&[PROD, (source::HTTP01_EDIT_IN_PLACE, "true")], tls));
    let source = |edit| CertificateSource { edit, ..CertificateSource::from(&plain) };
    let settings = ShimSettings::default();
    let edited = match decide(&source(Edit::Always), &[], &settings).changes.next() {
        Some(Change::Create(certificate)) => certificate,
        other => panic!("{other:?}"),
    };
    let mut automatic = created(&plain);
    Arc::make_mut(&mut automatic[0]).metadata.annotations = edited.metadata.annotations;
    for (existing, edit, changes) in [
        (&automatic, Edit::Always, 0),
        (&automatic, Edit::AsBefore, 0),
        (&automatic, Edit::Never, 1),
        // The annotation that asked for it was removed.
        (&created(&asking), Edit::AsBefore, 1),
    ] {
        let decision = decide(&source(edit), existing, &settings).changes.count();
        assert_eq!(decision, changes, "{edit:?}");
    }
}

#[test]
fn certificates_of_others_are_never_touched() {
    let ours = ingress(&[PROD], &[("a", &["a.test"])]);
    let manual = Arc::new(crds::fixtures::certificate("a", |_| {}));
    let decision = decided(&ours, &[manual]);
    let [update] = decision.update.as_slice() else { panic!("{decision:?}") };
    assert_eq!(checked(update, "shim", &[]), Checked::LeftAlone, "created by a user");
    let mut other = ingress(&[PROD], &[("a", &["b.test"]), ("b", &["b.test"])]);
    other.metadata.uid = Some("2".into());
    other.metadata.name = Some("other".into());
    let decision = decided(&ours, &created(&other));
    assert!(decision.create.is_empty() && decision.update.is_empty() && decision.delete.is_empty());
    assert!(decision.notes[0].message.contains("was created for the Ingress"), "{decision:?}");
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
fn invalid_annotation_is_reported_and_changes_nothing() {
    let block: &[(&str, &[&str])] = &[("a", &["a.test"])];
    let existing = created(&ingress(&[PROD], block));
    for (annotations, word) in [
        (vec![PROD, (source::ISSUER, "other")], "cannot be combined"),
        (vec![PROD, (source::DURATION, "48")], source::DURATION),
        (vec![PROD, (source::REVISION_HISTORY_LIMIT, "x")], "must be a whole number"),
        (
            vec![PROD, (source::PRIVATE_KEY_ALGORITHM, "DSA")],
            "private-key-algorithm must be one of ECDSA, Ed25519, RSA, not \"DSA\"",
        ),
        (vec![PROD, (source::SECRET_TEMPLATE, r#"{"other":{}}"#)], source::SECRET_TEMPLATE),
        (
            vec![PROD, (source::HTTP01_EDIT_IN_PLACE, "true"), (source::HTTP01_INGRESS_CLASS, "x")],
            "exclude each other",
        ),
        (vec![(source::TLS_ACME, "true")], "--default-issuer-name"),
    ] {
        let decision = decided(&ingress(&annotations, block), &existing);
        let [note] = decision.notes.as_slice() else { panic!("{decision:?}") };
        assert!(note.warning && note.reason == Reason::BadConfig && note.message.contains(word), "{note:?}");
        assert!(decision.create.is_empty() && decision.update.is_empty() && decision.delete.is_empty());
    }
    let twice = ingress(&[PROD], &[("a", &["a.test"]), ("a", &["b.test"])]);
    assert!(decided(&twice, &[]).notes[0].message.contains("two blocks"));
}

/// Each block's Certificate has all names of the annotations, so few bytes of an Ingress could become many in memory.
#[test]
fn ingress_beyond_a_limit_changes_nothing_and_says_so() {
    let names = |count: usize| (0..count).map(|it| format!("n{it}.test")).collect::<Vec<_>>().join(",");
    let blocks: Vec<_> = (0..=MOST_BLOCKS).map(|number| format!("s{number}")).collect();
    let blocks: Vec<(&str, &[&str])> = blocks.iter().map(|name| (&**name, &["a.test"][..])).collect();
    let (large, many, most) = ("x".repeat(LONGEST_METADATA), names(MOST_NAMES), names(MOST_NAMES - 1));
    let existing = created(&ingress(&[PROD], &blocks[..2]));
    for (ingress, words) in [
        (ingress(&[PROD], &blocks), ["has 101 blocks", "at most 100 "]),
        (
            ingress(&[PROD, (source::COMMON_NAME, &large)], &blocks[..1]),
            ["have 65609 bytes", "at most 65536 "],
        ),
        (
            ingress(&[PROD, (source::ALT_NAMES, &many)], &blocks[..1]),
            ["1001 names (1 hosts", "at most 1000 "],
        ),
    ] {
        let decision = decided(&ingress, &existing);
        let [note] = decision.notes.as_slice() else { panic!("{decision:?}") };
        assert!(
            note.reason == Reason::BadConfig && words.iter().all(|it| note.message.contains(it)),
            "{note:?}"
        );
        assert!(decision.create.is_empty() && decision.update.is_empty() && decision.delete.is_empty());
    }
    let mut allowed = ingress(&[PROD, (source::ALT_NAMES, &most)], &blocks[..MOST_BLOCKS]);
    assert_eq!(decided(&allowed, &[]).create.len(), MOST_BLOCKS);
    let label = |number: usize| (format!("l{number}"), "x".repeat(60));
    allowed.metadata.labels = Some((0..2000).map(label).collect());
    assert!(decided(&allowed, &[]).notes[0].message.contains("at most 65536 are allowed"));
}

#[test]
fn tls_acme_takes_the_default_issuer() {
    let default = IssuerRef { name: "default".into(), ..IssuerRef::default() };
    let settings = ShimSettings { default_issuer: Some(default), ..settings() };
    let decided = |value| {
        let ingress = ingress(&[(source::TLS_ACME, value)], &[("a", &["a.test"])]);
        decided_with(&ingress, &[], &settings)
    };
    for value in ["true", "True"] {
        assert_eq!(decided(value).create[0].spec.issuer_ref.name, "default");
    }
    assert_eq!(decided("false"), Decided::default());
    assert!(decided("yes").notes[0].message.contains("must be \"true\" or \"false\", not \"yes\""));
}

/// `--controllers=*,-ingress-shim`.
#[test]
fn nothing_is_done_for_ingresses_if_turned_off() {
    let ingress = ingress(&[(source::CLUSTER_ISSUER, "prod")], &[("web-tls", &["www.example.com"])]);
    assert!(!decided(&ingress, &[]).create.is_empty());
    let off = ShimSettings { is_off: true, ..settings() };
    assert_eq!(decided_with(&ingress, &[], &off), Decided::default());
    assert!(!asks_for_certificates(&ingress.metadata, &off));
}
