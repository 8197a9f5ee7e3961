//! Chains that rcgen created, intact and broken.

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair};
use tokio::time::Instant;

use super::*;
use crate::pki::{Curve, KeyEncoding, KeyKind};

/// A leaf for two names, its intermediate and its root as PEM, and the key of the leaf.
struct TestChain {
    key: PrivateKey,
    leaf: String,
    intermediate: String,
    root: String,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn test_chain() -> TestChain {
    test_chain_until((2100, 1, 1))
}

fn test_chain_until(end: (i32, u8, u8)) -> TestChain {
    let root_key = KeyPair::generate().expect("a key");
    let root = authority("Root").self_signed(&root_key).expect("a root");
    let root_issuer = Issuer::new(authority("Root"), root_key);
    let intermediate_key = KeyPair::generate().expect("a key");
    let intermediate =
        authority("Intermediate").signed_by(&intermediate_key, &root_issuer).expect("an intermediate");
    let intermediate_issuer = Issuer::new(authority("Intermediate"), intermediate_key);

    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
    let pem = key.to_pem(KeyEncoding::Pkcs8).expect("a key");
    let leaf_key = KeyPair::from_pem(&pem).expect("rcgen reads it");
    let names = vec!["a.example.test".to_owned(), "192.0.2.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, "a.example.test");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
    params.use_authority_key_identifier_extension = true;
    params.key_identifier_method = KeyIdMethod::Sha256;
    let leaf = params.signed_by(&leaf_key, &intermediate_issuer).expect("a leaf");
    TestChain { key, leaf: leaf.pem(), intermediate: intermediate.pem(), root: root.pem() }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn names() -> Vec<String> {
    vec!["a.example.test".to_owned()]
}

#[test]
fn chain_is_parsed_and_accepted() {
    let input = test_chain();
    let chain = Chain::from_pem(format!("{}{}", input.leaf, input.intermediate).as_bytes()).expect("a chain");
    assert_eq!(chain.certificates().len(), 2);
    assert_eq!(chain.topmost_issuer(), "Root");
    let leaf = chain.leaf();
    assert_eq!(leaf.common_name, "a.example.test");
    assert_eq!(leaf.dns_names, ["a.example.test"]);
    assert_eq!(leaf.ip_addresses, ["192.0.2.1".parse::<IpAddr>().expect("an address")]);
    assert_eq!(leaf.not_after, at("2100-01-01T00:00:00Z"));
    let addresses = leaf.ip_addresses.clone();
    chain.check(&input.key, &names(), &addresses, at("2026-01-01T00:00:00Z")).expect("an accepted chain");
}

#[test]
fn chain_is_sorted_leaf_first() {
    let TestChain { leaf, intermediate, root, .. } = test_chain();
    let sorted = format!("{leaf}{intermediate}{root}").replace("\r\n", "\n");
    for text in [
        format!("{leaf}{intermediate}{root}"),
        format!("{root}{leaf}{intermediate}"),
        format!("{intermediate}{root}{leaf}"),
        format!("subject=/CN=a\n{leaf}\n\nissuer\n{intermediate}{root}trailing text"),
        format!("{leaf}{intermediate}{root}").replace('\n', "\r\n"),
    ] {
        let chain = Chain::from_pem(text.as_bytes()).expect("a chain");
        assert_eq!(chain.to_pem(), sorted.replace('\r', ""));
    }
}

#[test]
fn check_rejects_what_was_not_requested() {
    let ours = test_chain();
    let other = test_chain();
    let chain = Chain::from_pem(format!("{}{}", ours.leaf, ours.intermediate).as_bytes()).expect("a chain");
    let now = at("2026-01-01T00:00:00Z");
    let error = |outcome: Result<(), ChainError>| outcome.expect_err("an error").to_string();
    assert!(
        error(chain.check(&other.key, &names(), &[], now)).contains("does not belong to the private key")
    );
    let more = ["a.example.test".to_owned(), "b.example.test".to_owned()];
    assert!(error(chain.check(&ours.key, &more, &[], now)).contains("\"b.example.test\""));
    let address = ["192.0.2.2".parse().expect("an address")];
    assert!(error(chain.check(&ours.key, &[], &address, now)).contains("192.0.2.2"));
    assert!(
        error(chain.check(&ours.key, &[], &[], at("2100-01-01T00:00:01Z")))
            .contains("it expired at 2100-01-01")
    );
    chain.check(&ours.key, &[], &[], at("2100-01-01T00:00:00Z")).expect("the last second is valid");
    chain.check(&ours.key, &[], &[], at("2019-01-01T00:00:00Z")).expect("clocks differ");
    let upper = ["A.Example.Test".to_owned()];
    chain.check(&ours.key, &upper, &[], now).expect("names are case-insensitive");
}

#[test]
fn unrelated_certificates_are_rejected() {
    let (one, other) = (test_chain(), test_chain());
    for (text, unrelated) in [
        (format!("{}{}", one.leaf, other.intermediate), 1),
        (format!("{}{}{}", one.leaf, one.intermediate, other.root), 1),
        (format!("{}{}", one.leaf, one.root), 1),
        (format!("{}{}", one.leaf, one.leaf), 1),
    ] {
        match Chain::from_pem(text.as_bytes()) {
            Err(ChainError::Unrelated(number)) => assert_eq!(number, unrelated),
            other => panic!("{other:?}"),
        }
    }
}

/// A CA may sign with what can't be checked here. Its chains were thrown away after each issuance.
#[test]
fn signature_of_an_unsupported_algorithm_is_accepted() {
    let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).expect("a key");
    let named = |name: &str, identifier: u8| {
        let mut params = authority(name);
        params.key_identifier_method = KeyIdMethod::PreSpecified(vec![identifier; 20]);
        params.use_authority_key_identifier_extension = true;
        params
    };
    let signed = |name: &str, identifier: u8, by: &Issuer<'_, KeyPair>| {
        named(name, identifier).signed_by(&key(), by).expect("a certificate").pem()
    };
    let root = Issuer::new(named("Root", 1), key());
    let other_root = Issuer::new(named("Root", 9), key());
    let intermediate = Issuer::new(named("Intermediate", 2), key());
    let leaf = signed("Leaf", 3, &intermediate);
    let above = signed("Intermediate", 2, &root);
    let chain = Chain::from_pem(format!("{above}{leaf}").as_bytes()).expect("a chain");
    assert_eq!((chain.certificates().len(), chain.leaf().common_name.as_str()), (2, "Leaf"));
    assert_eq!(chain.topmost_issuer(), "Root");
    // Another key, or another name.
    for stray in [signed("Intermediate", 8, &other_root), signed("Other", 2, &root)] {
        let read = Chain::from_pem(format!("{leaf}{stray}").as_bytes());
        assert!(matches!(read, Err(ChainError::Unrelated(1))), "{read:?}");
    }
}

/// A CA of the same name would have its certificates issued again and again.
#[test]
fn ca_may_have_the_name_of_the_temporary_one() {
    let authority = Issuer::new(authority("cert-manager.local"), KeyPair::generate().expect("a key"));
    let params = CertificateParams::new(names()).expect("names");
    let leaf = params.signed_by(&KeyPair::generate().expect("a key"), &authority).expect("a leaf");
    let chain = Chain::from_pem(leaf.pem().as_bytes()).expect("a chain");
    assert_eq!(chain.topmost_issuer(), "cert-manager.local");
    assert!(matches!(Chain::presented(leaf.pem().as_bytes()), Ok((_, false))));
}

/// Servers present the first certificate, whatever follows it.
#[test]
fn first_certificate_is_presented() {
    let TestChain { leaf, intermediate, root, .. } = test_chain();
    let chain = Chain::from_pem(leaf.as_bytes()).expect("a chain");
    for rest in ["", &intermediate, &root] {
        let presented = Chain::presented(format!("{leaf}{rest}").as_bytes()).expect("a certificate");
        assert_eq!(presented, (chain.leaf().clone(), false));
    }
    let presented = Chain::presented(format!("{intermediate}{leaf}").as_bytes()).expect("a certificate");
    assert!(presented.0.dns_names.is_empty());
    assert!(matches!(Chain::presented(b""), Err(ChainError::Pem(_))));
}

#[test]
fn chain_never_replaces_a_better_one() {
    let read = Chain::from_pem(test_chain().leaf.as_bytes()).expect("a chain").leaf().clone();
    let day = |day: i32| at("2026-01-01T00:00:00Z") + SignedDuration::from_hours(24 * i64::from(day));
    let leaf =
        |from: i32, to: i32| LeafCertificate { not_before: day(from), not_after: day(to), ..read.clone() };
    let now = day(60);
    for (new, in_use, accepted) in [
        // A renewal, also with a shorter lifetime, and another CA that dates back further.
        ((60, 150), (0, 90), true),
        ((60, 66), (0, 90), true),
        ((59, 149), (60, 150), true),
        // Not valid yet. It is accepted if nothing works anyway.
        ((62, 152), (0, 90), false),
        ((62, 152), (0, 59), true),
        ((62, 152), (61, 151), true),
        // An older one.
        ((0, 90), (30, 120), false),
        ((0, 90), (20, 59), true),
    ] {
        let checked = check_not_worse(&leaf(new.0, new.1), &leaf(in_use.0, in_use.1), now);
        assert_eq!(checked.is_ok(), accepted, "{new:?} for {in_use:?}: {checked:?}");
    }
    let soon = LeafCertificate { not_before: now + SignedDuration::from_mins(59), ..leaf(60, 150) };
    check_not_worse(&soon, &leaf(0, 90), now).expect("clocks differ");
}

/// The example of RFC 9773 section 4.1.
#[test]
fn ari_id_matches_the_example_of_the_rfc() {
    let leaf = LeafCertificate {
        serial_number: vec![0x00, 0x87, 0x65, 0x43, 0x21],
        authority_key_identifier: Some(vec![
            0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C,
            0xDE, 0x01, 0xC8, 0xD4,
        ]),
        ..Chain::from_pem(test_chain().leaf.as_bytes()).expect("a chain").leaf().clone()
    };
    assert_eq!(leaf.ari_id().as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
    let without_key_id = LeafCertificate { authority_key_identifier: None, ..leaf };
    assert_eq!(without_key_id.ari_id(), None);
}

/// Input from a broken or hostile CA is rejected quickly and without a panic.
#[test]
fn hostile_input_is_rejected_in_milliseconds() {
    let TestChain { leaf, intermediate, .. } = test_chain();
    let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let body: String = leaf.lines().filter(|line| !line.starts_with('-')).collect();
    let mut corpus: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\0".to_vec(),
        b"not PEM at all".to_vec(),
        b"<html><body>502 Bad Gateway</body></html>".to_vec(),
        b"{\"type\":\"urn:ietf:params:acme:error:serverInternal\"}".to_vec(),
        b"-----BEGIN CERTIFICATE-----".to_vec(),
        b"-----BEGIN CERTIFICATE-----\n".to_vec(),
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_vec(),
        b"-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n".to_vec(),
        vec![0xff; 1000],
        vec![b'-'; 90_000],
        vec![b'\n'; 90_000],
        vec![b'A'; 90_000],
        vec![b'A'; limits::MAX_CHAIN_PEM_BYTES + 1],
        "-----BEGIN ".repeat(8_000).into_bytes(),
        "-----BEGIN CERTIFICATE-----\n".repeat(3_000).into_bytes(),
        "-----END CERTIFICATE-----\n".repeat(3_000).into_bytes(),
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".repeat(1_700).into_bytes(),
        leaf.repeat(limits::MAX_CHAIN_LENGTH + 1).into_bytes(),
        leaf.repeat(100).into_bytes(),
        format!("{leaf}{}", intermediate.repeat(limits::MAX_CHAIN_LENGTH)).into_bytes(),
        block("CERTIFICATE", "****").into_bytes(),
        block("CERTIFICATE", "A").into_bytes(),
        block("CERTIFICATE", "AAAA").into_bytes(),
        block("CERTIFICATE", "MIIB").into_bytes(),
        block("CERTIFICATE", "MIQAAAAAAAA=").into_bytes(),
        block("CERTIFICATE", "MIT/////AAAA").into_bytes(),
        block("CERTIFICATE", &"MA".repeat(20_000)).into_bytes(),
        block("CERTIFICATE", &"MIAw".repeat(20_000)).into_bytes(),
        block("CERTIFICATE", &body[..body.len() / 2]).into_bytes(),
        block("CERTIFICATE", &format!("{}AAAA", body.trim_end_matches('='))).into_bytes(),
        block("CERTIFICATE", &body.replace('M', "N")).into_bytes(),
        block("CERTIFICATE REQUEST", &body).into_bytes(),
        block("PRIVATE KEY", &body).into_bytes(),
        block("X509 CRL", &body).into_bytes(),
        block("TRUSTED CERTIFICATE", &body).into_bytes(),
        block("certificate", &body).into_bytes(),
        leaf.replace("-----END", "----END").into_bytes(),
        leaf.replace("BEGIN CERTIFICATE", "BEGIN PRIVATE KEY").into_bytes(),
        [leaf.as_bytes(), b"\n-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n"].concat(),
        format!("{leaf}{}", block("CERTIFICATE", "AAAA")).into_bytes(),
        format!("{}{}", block("CERTIFICATE", "AAAA"), leaf).into_bytes(),
    ];
    // Deep nesting: sequences within sequences.
    let mut nested = vec![0x05, 0x00];
    for _ in 0..200 {
        let length = u16::try_from(nested.len()).expect("it is short").to_be_bytes();
        nested = [&[0x30, 0x82][..], &length, &nested].concat();
    }
    corpus.push(pem::encode(pem::CERTIFICATE, &nested).as_bytes().to_vec());
    assert!(corpus.len() >= 40, "{}", corpus.len());
    for (index, text) in corpus.iter().enumerate() {
        let time = (0..3)
            .map(|_| {
                let began = Instant::now();
                assert!(Chain::from_pem(text).is_err(), "number {index} was accepted");
                began.elapsed()
            })
            .min()
            .expect("three tries");
        // The fastest of three tries, because the machine may be busy.
        assert!(time.as_millis() < 10, "number {index} took {time:?}");
    }
}

#[test]
fn leaf_without_expiry_is_parsed() {
    let chain = Chain::from_pem(test_chain_until((9999, 12, 31)).leaf.as_bytes()).expect("a chain");
    assert_eq!(chain.leaf().not_after, Timestamp::MAX);
}

proptest! {
    #[test]
    fn from_pem_never_panics(text in prop::collection::vec(any::<u8>(), 0..600)) {
        _ = Chain::from_pem(&text);
    }

    /// A certificate with some changed bytes is parsed or rejected.
    #[test]
    fn broken_certificate_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        static LEAF: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let leaf = LEAF.get_or_init(|| Chain::from_pem(test_chain().leaf.as_bytes()).expect("a chain").certificates()[0].clone());
        let mut der = leaf.clone();
        for (position, byte) in changes {
            let position = position.index(der.len());
            der[position] = byte;
        }
        _ = Chain::from_pem(pem::encode(pem::CERTIFICATE, &der).as_bytes());
    }
}
