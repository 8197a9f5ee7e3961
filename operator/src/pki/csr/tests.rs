//! OpenSSL checks the CSRs that we create.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::*;
use crate::pki::Curve;

/// Returns how OpenSSL prints a CSR, after it verified the signature.
fn openssl(request: &CsrRequest, key: &PrivateKey) -> String {
    let pem = request.sign_pem(key).expect("a CSR");
    let mut child = Command::new("openssl")
        .args(["req", "-noout", "-text", "-verify", "-nameopt", "RFC2253,utf8", "-subject"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().expect("stdin").write_all(pem.as_bytes()).expect("openssl reads");
    let output = child.wait_with_output().expect("openssl exits");
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("verify OK"), "{printed}");
    printed
}

fn key(kind: KeyKind) -> PrivateKey {
    PrivateKey::generate(kind).expect("a key")
}

fn p256() -> PrivateKey {
    key(KeyKind::Ecdsa(Curve::P256))
}

#[test]
fn every_key_signs_with_its_default_algorithm() {
    for (kind, algorithm) in [
        (KeyKind::Rsa { bits: 2048 }, "sha256WithRSAEncryption"),
        (KeyKind::Rsa { bits: 3072 }, "sha384WithRSAEncryption"),
        (KeyKind::Ecdsa(Curve::P256), "ecdsa-with-SHA256"),
        (KeyKind::Ecdsa(Curve::P384), "ecdsa-with-SHA384"),
        (KeyKind::Ecdsa(Curve::P521), "ecdsa-with-SHA512"),
        (KeyKind::Ed25519, "ED25519"),
    ] {
        let request = CsrRequest { dns_names: vec!["a.example.test".into()], ..CsrRequest::default() };
        let printed = openssl(&request, &key(kind));
        assert!(printed.contains(&format!("Signature Algorithm: {algorithm}")), "{kind}: {printed}");
    }
}

#[test]
fn requested_algorithm_is_used_or_rejected() {
    let request =
        CsrRequest { signature_algorithm: Some(SignatureAlgorithm::RsaSha512), ..CsrRequest::default() };
    let printed = openssl(&request, &key(KeyKind::Rsa { bits: 2048 }));
    assert!(printed.contains("Signature Algorithm: sha512WithRSAEncryption"), "{printed}");
    let error = request.sign(&p256()).expect_err("an ECDSA key can't sign with RSA").to_string();
    assert!(error.contains("ECDSA P-256"), "{error}");
}

#[test]
fn every_type_of_name_is_encoded() {
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
    let printed = openssl(&request, &p256());
    assert!(printed.contains("X509v3 Subject Alternative Name: critical"), "{printed}");
    for name in [
        "DNS:a.example.test",
        "DNS:*.b.example.test",
        "email:alice@example.test",
        "IP Address:192.0.2.1",
        "IP Address:2001:DB8:0:0:0:0:0:1",
        "URI:spiffe://example.test/a",
        "othername",
    ] {
        assert!(printed.contains(name), "{name}: {printed}");
    }
}

#[test]
fn hundred_names_fit() {
    let dns_names = (0..100).map(|n| format!("{n}.{}.example.test", "a".repeat(60))).collect();
    let printed = openssl(&CsrRequest { dns_names, ..CsrRequest::default() }, &p256());
    assert_eq!(printed.matches("DNS:").count(), 100);
}

#[test]
fn usages_become_both_extensions() {
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
    let printed = openssl(&request, &p256());
    for part in [
        "X509v3 Key Usage: critical\n                    Digital Signature, Key Encipherment, Certificate Sign",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Basic Constraints: critical\n                    CA:TRUE",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn ca_has_name_constraints() {
    let ip = |text: &str| text.parse().expect("an address");
    let request = CsrRequest {
        is_ca: true,
        name_constraints: NameConstraints {
            critical: true,
            permitted: vec![
                Subtree::Dns("example.test".into()),
                Subtree::Ip(ip("192.0.2.0"), ip("255.255.255.0")),
                Subtree::Email("example.test".into()),
                Subtree::Uri("example.test".into()),
            ],
            excluded: vec![Subtree::Ip(ip("2001:db8::"), ip("ffff:ffff::"))],
        },
        ..CsrRequest::default()
    };
    let printed = openssl(&request, &p256());
    for part in [
        "X509v3 Name Constraints: critical",
        "Permitted:",
        "DNS:example.test",
        "IP:192.0.2.0/255.255.255.0",
        "email:example.test",
        "URI:example.test",
        "Excluded:",
        "IP:2001:DB8:0:0:0:0:0:0/FFFF:FFFF:0:0:0:0:0:0",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
}

#[test]
fn duplicate_usages_are_merged() {
    let request =
        CsrRequest { usages: vec![KeyUsage::Signing, KeyUsage::DigitalSignature], ..CsrRequest::default() };
    assert!(openssl(&request, &p256()).contains("Digital Signature\n"));
}

#[test]
fn subject_has_one_rdn_per_type_like_go() {
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
    let printed = openssl(&CsrRequest { subject, ..CsrRequest::default() }, &p256());
    let expected =
        "serialNumber=42,CN=example.test,postalCode=10115,L=Berlin,OU=Ops,O=Example+O=B\\C3\\BCcher,C=DE";
    assert!(printed.contains(expected), "{printed}");
}

#[test]
fn literal_subject_keeps_order_and_multi_values() {
    let subject = Subject::Literal("CN=example.test,OU=a+OU=b,O=Example\\, Inc.,C=DE".into());
    let printed = openssl(&CsrRequest { subject, ..CsrRequest::default() }, &p256());
    assert!(printed.contains("CN=example.test,OU=b+OU=a,O=Example\\, Inc.,C=DE"), "{printed}");
}

#[test]
fn invalid_names_are_rejected_by_name() {
    for request in [
        CsrRequest { dns_names: vec!["bücher.example.test".into()], ..CsrRequest::default() },
        CsrRequest { uris: vec!["http://bücher".into()], ..CsrRequest::default() },
        CsrRequest {
            other_names: vec![OtherName { oid: "bücher".into(), value: String::new() }],
            ..CsrRequest::default()
        },
        CsrRequest { subject: Subject::Literal("bücher".into()), ..CsrRequest::default() },
    ] {
        let error = request.sign(&p256()).expect_err("an error").to_string();
        assert!(error.contains("bücher"), "{error}");
    }
}

/// Programs that take the first block, the first extension, or the last one, must not find another CSR than this one.
#[test]
fn ambiguous_request_is_refused() {
    let request = |name: &str| CsrRequest { dns_names: vec![name.to_owned()], ..CsrRequest::default() };
    let key = p256();
    let pem = request("victim.example.test").sign_pem(&key).expect("a CSR");
    let other = request("harmless.example.test").sign_pem(&key).expect("a CSR");
    let new = other.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST");
    for (text, words) in [
        (format!("{new}{pem}"), "more than one PEM block"),
        (format!("{pem}{other}"), "more than one PEM block"),
        (format!("{pem}x"), "text after the PEM block"),
        (new, "no PEM block of the expected type"),
    ] {
        let error = Csr::from_pem(text.as_bytes()).expect_err("ambiguous").to_string();
        assert!(error.contains(words), "{error}");
    }
    for text in [format!("Certificate Request:\n{pem}\n \n"), pem.replace('\n', "\r\n")] {
        assert_eq!(Csr::from_pem(text.as_bytes()), Csr::from_pem(pem.as_bytes()));
    }
    let mut twice = CertReqInfo {
        version: Version::V1,
        subject: Subject::default().name().expect("a name"),
        public_key: SubjectPublicKeyInfo::from_der(&key.public_key_der().expect("a key")).expect("a key"),
        attributes: SetOfVec::new(),
    };
    let names = ["harmless", "victim"].map(|name| request(name).extensions(true).expect("extensions"));
    twice.attributes.insert(ExtensionReq(names.concat()).try_into().expect("an attribute")).expect("one");
    let twice = CertReq {
        info: twice,
        algorithm: AlgorithmIdentifierRef {
            oid: SignatureAlgorithm::default_for(key.kind()).identifier().0,
            parameters: None,
        }
        .into(),
        signature: BitString::from_bytes(&[]).expect("bits"),
    };
    let twice = pem::encode(pem::CERTIFICATE_REQUEST, &twice.to_der().expect("DER"));
    assert_eq!(Csr::from_pem(twice.as_bytes()), Err(ReadCsrError::Repeated));
}

#[test]
fn size_is_known_before_a_key_signs() {
    for kind in [
        KeyKind::Rsa { bits: 2048 },
        KeyKind::Ecdsa(Curve::P256),
        KeyKind::Ecdsa(Curve::P521),
        KeyKind::Ed25519,
    ] {
        let key = key(kind);
        for names in [1, 30, 800] {
            let name = |number| format!("number-{number}.example.test");
            let request = CsrRequest {
                dns_names: (0..names).map(name).collect(),
                is_ca: true,
                ..CsrRequest::default()
            };
            let (expected, actual) =
                (request.pem_bytes(kind).expect("a size"), request.sign_pem(&key).expect("a CSR").len());
            assert!((actual..=actual + 500).contains(&expected), "{kind} {names}: {expected} for {actual}");
        }
    }
}
