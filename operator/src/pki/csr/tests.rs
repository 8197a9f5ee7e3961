//! OpenSSL judges what we write.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::*;
use crate::pki::Curve;

/// What OpenSSL says of a CSR, having checked its signature.
fn openssl(request: &CsrRequest, key: &PrivateKey) -> String {
    let pem = request.sign_pem(key).expect("a CSR can be made");
    let mut child = Command::new("openssl")
        .args(["req", "-noout", "-text", "-verify", "-nameopt", "RFC2253,utf8", "-subject"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().expect("it has an input").write_all(pem.as_bytes()).expect("openssl reads");
    let output = child.wait_with_output().expect("openssl ends");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("verify OK"), "{said}");
    said
}

fn key(kind: KeyKind) -> PrivateKey {
    PrivateKey::generate(kind).expect("a key can be made")
}

fn p256() -> PrivateKey {
    key(KeyKind::Ecdsa(Curve::P256))
}

#[test]
fn every_kind_of_key_signs_with_what_suits_it() {
    for (kind, algorithm) in [
        (KeyKind::Rsa { bits: 2048 }, "sha256WithRSAEncryption"),
        (KeyKind::Rsa { bits: 3072 }, "sha384WithRSAEncryption"),
        (KeyKind::Ecdsa(Curve::P256), "ecdsa-with-SHA256"),
        (KeyKind::Ecdsa(Curve::P384), "ecdsa-with-SHA384"),
        (KeyKind::Ecdsa(Curve::P521), "ecdsa-with-SHA512"),
        (KeyKind::Ed25519, "ED25519"),
    ] {
        let request = CsrRequest { dns_names: vec!["a.example.test".into()], ..CsrRequest::default() };
        let said = openssl(&request, &key(kind));
        assert!(said.contains(&format!("Signature Algorithm: {algorithm}")), "{kind}: {said}");
    }
}

#[test]
fn an_algorithm_that_is_asked_for_is_used_or_refused() {
    let request =
        CsrRequest { signature_algorithm: Some(SignatureAlgorithm::RsaSha512), ..CsrRequest::default() };
    let said = openssl(&request, &key(KeyKind::Rsa { bits: 2048 }));
    assert!(said.contains("Signature Algorithm: sha512WithRSAEncryption"), "{said}");
    let error = request.sign(&p256()).expect_err("RSA can't be signed with ECDSA").to_string();
    assert!(error.contains("ECDSA P-256"), "{error}");
}

#[test]
fn names_of_every_kind_are_there() {
    let request = CsrRequest {
        dns_names: vec!["a.example.test".into(), "*.b.example.test".into()],
        email_addresses: vec!["alice@example.test".into()],
        ip_addresses: vec![
            "192.0.2.1".parse().expect("an address"),
            "2001:db8::1".parse().expect("an address"),
        ],
        uris: vec!["spiffe://example.test/a".into()],
        other_names: vec![OtherName {
            oid: "1.3.6.1.4.1.311.20.2.3".into(),
            value: "user@example.test".into(),
        }],
        ..CsrRequest::default()
    };
    let said = openssl(&request, &p256());
    assert!(said.contains("X509v3 Subject Alternative Name: critical"), "{said}");
    for name in [
        "DNS:a.example.test",
        "DNS:*.b.example.test",
        "email:alice@example.test",
        "IP Address:192.0.2.1",
        "IP Address:2001:DB8:0:0:0:0:0:1",
        "URI:spiffe://example.test/a",
        "othername",
    ] {
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[test]
fn a_hundred_names_fit() {
    let dns_names = (0..100).map(|n| format!("{n}.{}.example.test", "a".repeat(60))).collect();
    let said = openssl(&CsrRequest { dns_names, ..CsrRequest::default() }, &p256());
    assert_eq!(said.matches("DNS:").count(), 100);
}

#[test]
fn usages_become_key_usages_and_extended_ones() {
    let request = CsrRequest {
        subject: Subject::common_name("example.test"),
        usages: vec![
            KeyUsage::DigitalSignature,
            KeyUsage::KeyEncipherment,
            KeyUsage::ServerAuth,
            KeyUsage::ClientAuth,
        ],
        is_ca: true,
        ..CsrRequest::default()
    };
    let said = openssl(&request, &p256());
    for part in [
        "X509v3 Key Usage: critical\n                    Digital Signature, Key Encipherment",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Basic Constraints: critical\n                    CA:TRUE",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_same_usage_twice_is_one() {
    let request =
        CsrRequest { usages: vec![KeyUsage::Signing, KeyUsage::DigitalSignature], ..CsrRequest::default() };
    assert!(openssl(&request, &p256()).contains("Digital Signature\n"));
}

#[test]
fn a_subject_from_parts_has_one_relative_name_for_each_kind_as_go_has() {
    let subject = Subject::Parts {
        common_name: "example.test".into(),
        countries: vec!["DE".into()],
        organizations: vec!["Example".into(), "Bücher".into()],
        organizational_units: vec!["Ops".into(), "Ops".into()],
        localities: vec!["Berlin".into()],
        provinces: vec![],
        street_addresses: vec![],
        postal_codes: vec!["10115".into()],
        serial_number: "42".into(),
    };
    let said = openssl(&CsrRequest { subject, ..CsrRequest::default() }, &p256());
    let expected =
        "serialNumber=42,CN=example.test,postalCode=10115,L=Berlin,OU=Ops,O=Example+O=B\\C3\\BCcher,C=DE";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_literal_subject_keeps_its_order_and_its_multi_valued_parts() {
    let subject = Subject::Literal("CN=example.test,OU=a+OU=b,O=Example\\, Inc.,C=DE".into());
    let said = openssl(&CsrRequest { subject, ..CsrRequest::default() }, &p256());
    assert!(said.contains("CN=example.test,OU=b+OU=a,O=Example\\, Inc.,C=DE"), "{said}");
}

#[test]
fn names_that_no_certificate_can_hold_are_refused_by_name() {
    for request in [
        CsrRequest { dns_names: vec!["bücher.example.test".into()], ..CsrRequest::default() },
        CsrRequest { uris: vec!["http://bücher".into()], ..CsrRequest::default() },
        CsrRequest {
            other_names: vec![OtherName { oid: "bücher".into(), value: String::new() }],
            ..CsrRequest::default()
        },
        CsrRequest { subject: Subject::Literal("bücher".into()), ..CsrRequest::default() },
    ] {
        let error = request.sign(&p256()).expect_err("it is refused").to_string();
        assert!(error.contains("bücher"), "{error}");
    }
}
