//! Which Secrets are written, and what is written around a certificate.

use crds::{
    annotations::secret::{CERTIFICATE_NAME, FULL_ACCESS_LABEL, TLS_CRT},
    certmanager::{CertificatePrivateKey, JksKeystore, Keystores, Pkcs12Keystore, SecretTemplate},
    fixtures,
};
use k8s_openapi::{ByteString, api::core::v1::Secret};

use serde_json::json;

use super::{
    world::{Server, jks_with_password_reference},
    *,
};
use crate::{
    decision::certificate::policy::RIVAL_DELAY,
    pki::{self, Chain, Curve, KeyEncoding, KeyKind, PrivateKey},
};

#[test]
fn foreign_secret_is_left_alone() {
    let mut world = World::new(|_| {});
    world.secret = Some(Secret {
        data: Some([("tls.crt".to_owned(), ByteString(b"theirs".to_vec()))].into()),
        ..Secret::default()
    });
    assert!(world.run(5));
    assert!(world.requests.is_empty());
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::False, "ForeignSecret")));
    let message = world.message(condition::READY);
    assert!(
        message.contains("left alone, because its type is \"Opaque\", not \"kubernetes.io/tls\". "),
        "{message}"
    );
}

/// As in the tutorials: the Secret is there before the Ingress is annotated.
#[test]
fn secret_made_by_hand_is_replaced() {
    let mut world = World::new(|_| {});
    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
    let theirs = pki::testing::issue(&key, &["web.example.test".to_owned()], world.now, hours(365 * 24));
    let pem = key.to_pem(KeyEncoding::Pkcs8).expect("a key").as_bytes().to_vec();
    world.secret = Some(Secret {
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            [
                ("tls.crt", theirs.clone().into_bytes()),
                ("tls.key", pem),
                ("ca.crt", theirs.clone().into_bytes()),
            ]
            .map(|(name, value)| (name.to_owned(), ByteString(value)))
            .into(),
        ),
        ..Secret::default()
    });
    assert!(world.run(5), "a certificate is requested");
    assert_eq!(world.requests.len(), 1);
    let kept = world.data(TLS_CRT);
    assert_eq!(kept.as_deref(), Some(theirs.as_bytes()), "theirs is served until the new one is issued");
    let notes: Vec<_> = world.notes.iter().map(|note| note.message.as_str()).collect();
    assert!(notes.iter().any(|note| note.contains("is served until the new one replaces it")), "{notes:?}");
    world.issue();
    assert!(world.run(5), "it settles");
    assert_ne!(world.data(TLS_CRT), kept);
    assert_eq!(world.data("ca.crt").as_deref(), Some(theirs.as_bytes()), "servers may verify clients by it");
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
}

#[test]
fn secret_of_a_rival_is_left_alone() {
    let mut world = World::new(|_| {});
    world.rivals = vec![Arc::new(fixtures::certificate("aaa", |it| it.spec.secret_name = "web".into()))];
    assert!(world.run(5));
    assert!(world.requests.is_empty());
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::False, "IncorrectCertificate")));
    assert_eq!(world.requeue(), Requeue::After(RIVAL_DELAY));
}

#[test]
fn invalid_spec_is_reported() {
    let mut world = World::new(|it| it.spec.ip_addresses = Some(vec!["web".into()]));
    assert!(world.run(5));
    assert!(world.requests.is_empty());
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::False, "InvalidSpec")));
    assert_eq!(world.message(condition::READY), "spec.ipAddresses: \"web\" is not an IP address");
}

/// What the operator manages in the Secret is restored around the same key and chain.
#[test]
fn changed_annotation_is_rewritten() {
    let mut world = issued(|_| {});
    let before = world.secret.clone().expect("a Secret");
    world.edit_secret();
    let missing = world.decide().expect_err("key and chain are read first");
    assert_eq!(missing, Prerequisite::KeyPair);
    assert!(world.run(5));
    assert_eq!(world.secret, Some(before));
    assert_eq!(world.requests.len(), 1, "nothing is requested");
}

#[test]
fn only_a_known_secret_is_taken_over() {
    let mut world = World::new(|_| {});
    assert!(world.run(5));
    world.issue();
    let decision = world.decide().expect("nothing is missing");
    let force = |decision: &Decision| {
        decision.actions.iter().find_map(|action| match action {
            Action::WriteSecret { plan, .. } => Some(plan.force),
            _ => None,
        })
    };
    assert_eq!(force(&decision), Some(false));
    world.secret = Some(Secret::default());
    world.secret.as_mut().expect("a Secret").annotations_mut().insert(CERTIFICATE_NAME.into(), "web".into());
    let decision = world.decide().expect("nothing is missing");
    assert_eq!(force(&decision), Some(true));
}

/// A backup tool, or a user, has removed them. Nothing has to be issued.
#[test]
fn lost_annotations_are_restored() {
    let mut world = issued(|_| {});
    let before = world.secret.clone();
    let metadata = &mut world.secret.as_mut().expect("a Secret").metadata;
    (metadata.annotations, metadata.labels) = (None, None);
    assert!(world.run(5));
    assert_eq!(world.secret, before);
    assert_eq!(world.requests.len(), 1, "nothing is requested");
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
}

/// Otherwise the Secret would be written without end.
#[test]
fn template_does_not_override_what_the_operator_needs() {
    let map = |name: &str, value: &str| Some([(name.to_owned(), value.to_owned())].into());
    let template = SecretTemplate {
        labels: map(FULL_ACCESS_LABEL, "false"),
        annotations: map(CERTIFICATE_NAME, "other"),
    };
    let mut world = issued(|it| it.spec.secret_template = Some(template));
    assert!(world.run(5));
    let secret = world.secret.expect("a Secret");
    assert_eq!(secret.labels().get(FULL_ACCESS_LABEL).map(String::as_str), Some("true"));
    assert_eq!(secret.annotations().get(CERTIFICATE_NAME).map(String::as_str), Some("web"));
}

/// Each change of one of them is a reconcile of all.
#[test]
fn many_certificates_with_one_secret_are_not_compared() {
    let rivals = |count: usize| -> Vec<_> {
        let rival = |number: usize| {
            fixtures::certificate(&format!("x{number}"), |it| it.spec.secret_name = "web".into())
        };
        (0..count).map(|number| Arc::new(rival(number))).collect()
    };
    let mut world = World::new(|_| {});
    world.rivals = rivals(MOST_RIVALS + 1);
    assert!(world.run(5));
    assert!(
        world.requests.is_empty()
            && world.message(condition::READY).starts_with("more than 20 other Certificates")
    );
    let mut world = issued(|_| {});
    world.rivals = rivals(MOST_RIVALS + 1);
    assert!(world.run(5));
    assert_eq!(
        world.condition(condition::READY),
        Some((ConditionStatus::True, "Ready")),
        "the Secret names it"
    );
}

fn with_keystore() -> World {
    World::new(|it| it.spec.keystores = Some(jks_with_password_reference()))
}

/// The certificate may be needed by programs that read PEM, and expires.
#[test]
fn missing_keystore_password_holds_up_only_the_keystore() {
    let mut world = with_keystore();
    world.password = None;
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.data(objects::secret::JKS), None);
    assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
    let dependency = world.waiting_for.as_ref().expect("a dependency");
    assert!(
        dependency.what.contains("\"passwords\"") && dependency.why.contains("\"jks\""),
        "{dependency:?}"
    );
    world.edit_secret();
    assert!(world.run(5));
    assert_ne!(world.secret.as_ref().expect("a Secret").annotations()["cert-manager.io/alt-names"], "other");
    let writes = world.writes;
    assert!(world.run(5) && world.writes == writes, "nothing is written again");
    world.password = Some("a password");
    assert!(world.run(5));
    assert_eq!(world.waiting_for, None);
    assert_eq!(world.data(objects::secret::JKS), Some(b"a password".to_vec()));
}

/// Programs that read only the keystore keep the earlier certificate until then.
#[test]
fn keystore_without_its_password_stays_until_it_can_be_created() {
    let mut world = with_keystore();
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    let store = world.data(objects::secret::JKS).expect("a keystore");
    world.manage(json!({ "f:data": { "f:keystore.jks": {} } }));
    world.password = None;
    world.wait(hours(61 * 24));
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    assert_eq!(world.status().revision, Some(2));
    assert_eq!(world.data(objects::secret::JKS), Some(store));
    let annotations = |world: &World| world.secret.as_ref().expect("a Secret").annotations().clone();
    assert_eq!(annotations(&world)[objects::secret::OUTDATED_KEYSTORES], objects::secret::JKS);
    world.password = Some("another");
    assert!(world.run(5));
    assert_eq!(world.data(objects::secret::JKS), Some(b"another".to_vec()));
    assert!(!annotations(&world).contains_key(objects::secret::OUTDATED_KEYSTORES));
}

/// No keystore can have them, whatever is tried.
#[test]
fn impossible_keystore_does_not_hold_up_the_certificate() {
    let jks = JksKeystore {
        create: true,
        alias: Some("\u{1f511}".into()),
        password: Some("secret".into()),
        ..JksKeystore::default()
    };
    let pkcs12 =
        Pkcs12Keystore { create: true, password: Some("\u{1f511}".into()), ..Pkcs12Keystore::default() };
    for (keystores, words) in [
        (Keystores { jks: Some(jks), pkcs12: None }, "spec.keystores.jks.alias"),
        (Keystores { jks: None, pkcs12: Some(pkcs12) }, "password of the PKCS#12 keystore"),
    ] {
        let mut world = World::new(|it| it.spec.keystores = Some(Box::new(keystores)));
        assert!(world.run(5));
        world.issue();
        assert!(world.run(5));
        assert_eq!(world.condition(condition::READY), Some((ConditionStatus::True, "Ready")));
        assert!(
            world.waiting_for.as_ref().is_some_and(|it| it.what.contains(words)),
            "{:?}",
            world.waiting_for
        );
    }
}

/// A keystore that the operator has written follows its password.
#[test]
fn keystore_is_encoded_again_when_its_password_changes() {
    let mut world = with_keystore();
    world.password = Some("old");
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    let writes = world.writes;
    assert!(world.run(5));
    assert_eq!(world.writes, writes, "nothing else writes it");
    let key = PrivateKey::from_pem(&world.data("tls.key").expect("a key")).expect("a key");
    let chain = Chain::from_pem(&world.data("tls.crt").expect("a chain")).expect("a chain");
    let store = pki::jks("old", "certificate", &key, &chain, &pki::Authorities::default(), world.now)
        .expect("a keystore");
    let secret = world.secret.as_mut().expect("a Secret");
    secret.data.get_or_insert_default().insert(objects::secret::JKS.to_owned(), ByteString(store));
    world.manage(json!({ "f:data": { "f:keystore.jks": {} } }));
    assert!(world.run(5));
    assert_eq!(world.writes, writes, "the password is the same");
    world.password = Some("new");
    assert!(world.run(5));
    assert_eq!(world.data(objects::secret::JKS), Some(b"new".to_vec()));
    assert_eq!(world.requests.len(), 1, "nothing is requested");
}

/// Otherwise each retry would ask the issuer's server again.
#[test]
fn renewal_information_is_kept_while_waiting() {
    let mut world = with_keystore();
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    (world.password, world.server) = (None, Server::Suggests(hours(48)));
    world.wait(hours(7));
    world.edit_secret();
    assert!(world.run(5));
    assert!(world.waiting_for.is_some() && world.status().acme.is_some());
}

/// The certificate of the CA, which issuers of other groups provide, is in the Secret until another issuer has signed.
#[test]
fn certificate_of_the_ca_is_kept_on_rewrites() {
    let mut world = World::new(|_| {});
    assert!(world.run(5), "a certificate is requested");
    world.issue();
    world.complete(|status| status.ca = Some(ByteString(b"their CA".to_vec())));
    assert!(world.run(5), "it settles");
    assert_eq!(world.data("ca.crt").as_deref(), Some(&b"their CA"[..]));
    world.secret.as_mut().expect("a Secret").annotations_mut().remove("cert-manager.io/common-name");
    assert!(world.run(5), "it settles");
    assert_eq!(world.rewrites.last().map(|why| why.reason), Some(Reason::SecretManagedMetadataMismatch));
    assert_eq!(world.data("ca.crt").as_deref(), Some(&b"their CA"[..]));
}

/// cert-manager writes a truststore with the certificate of the CA, and so a Secret without it is rewritten.
#[test]
fn truststore_is_missing_only_if_there_is_a_ca() {
    let jks = JksKeystore { create: true, password: Some("secret".into()), ..JksKeystore::default() };
    let keystores = Keystores { jks: Some(jks), pkcs12: None };
    let mut world = World::new(|it| it.spec.keystores = Some(Box::new(keystores)));
    assert!(world.run(5));
    world.issue();
    assert!(world.run(5));
    let writes = world.writes;
    let ca = world.data("tls.crt").expect("a chain");
    let mut rewrites = |fields, ca: &[u8], trust: &[u8]| {
        let data = world.secret.as_mut().and_then(|secret| secret.data.as_mut()).expect("data");
        data.insert("ca.crt".to_owned(), ByteString(ca.to_vec()));
        data.insert(objects::secret::JKS_TRUST.to_owned(), ByteString(trust.to_vec()));
        world.manage(fields);
        matches!(world.decide(), Err(Prerequisite::KeyPair))
    };
    let owned = || json!({ "f:data": { "f:tls.crt": {}, "f:ca.crt": {} } });
    assert!(rewrites(owned(), &ca, b""));
    assert!(!rewrites(owned(), &ca, b"a truststore"));
    assert!(!rewrites(owned(), b"not a certificate", b""), "nothing could be in it");
    assert!(!rewrites(json!({ "f:data": { "f:tls.crt": {} } }), &ca, b""), "a user has put it there");
    assert_eq!(world.writes, writes);
}

/// What the Certificate's Secret has is removed only if the spec could ask for it, and no longer does.
#[test]
fn content_is_stale_only_if_a_spec_can_ask_for_it() {
    let mut world = issued(|_| {});
    world.issuer = None;
    let data = world.secret.as_mut().and_then(|secret| secret.data.as_mut()).expect("data");
    data.insert("ca.crt".to_owned(), ByteString(b"their CA".to_vec()));
    let mut owned = |fields| {
        world.manage(fields);
        matches!(world.decide(), Err(Prerequisite::KeyPair))
    };
    let of_others = json!({
        "f:data": { "f:tls.crt": {}, "f:tls.key": {}, "f:ca.crt": {} },
        "f:metadata": {
            "f:labels": { "f:controller.cert-manager.io/fao": {} },
            "f:annotations": { "f:cert-manager.io/subject-organizations": {} },
        },
    });
    assert!(!owned(of_others), "cert-manager has set this, for other issuers");
    assert!(owned(json!({ "f:data": { "f:key.der": {} } })));
    assert!(owned(json!({ "f:metadata": { "f:labels": { "f:tier": {} } } })));
    assert!(owned(json!({ "f:metadata": { "f:annotations": { "f:example.com/mirror": {} } } })));
}

#[test]
fn long_rsa_keys_are_large() {
    let is_large = |size| {
        let private_key = CertificatePrivateKey { size, ..CertificatePrivateKey::default() };
        has_large_key(&fixtures::certificate("web", |it| it.spec.private_key = Some(private_key)))
    };
    assert_eq!(
        [None, Some(521), Some(2048), Some(3072), Some(8192)].map(is_large),
        [false, false, false, true, true]
    );
}
