//! OpenSSL judges what we write, and writes what we read.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::*;

const QUICK: [KeyKind; 5] = [
    KeyKind::Rsa { bits: 2048 },
    KeyKind::Ecdsa(Curve::P256),
    KeyKind::Ecdsa(Curve::P384),
    KeyKind::Ecdsa(Curve::P521),
    KeyKind::Ed25519,
];

const ENCODINGS: [KeyEncoding; 2] = [KeyEncoding::Traditional, KeyEncoding::Pkcs8];

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().expect("it has an input").write_all(input).expect("openssl reads");
    let output = child.wait_with_output().expect("openssl ends");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn openssl_reads_every_key_in_every_encoding_and_sees_the_same_public_key() {
    for kind in QUICK {
        let key = PrivateKey::generate(kind).expect("a key can be made");
        assert_eq!(key.kind(), kind);
        for encoding in ENCODINGS {
            let pem = key.to_pem(encoding).expect("a key can be written");
            openssl(&["pkey", "-check", "-noout"], pem.as_bytes());
            let public = openssl(&["pkey", "-pubout", "-outform", "DER"], pem.as_bytes());
            assert_eq!(public, key.public_key_der().expect("it has a public key"), "{kind} {encoding:?}");
        }
    }
}

#[test]
fn what_we_write_we_read_as_the_same_key() {
    for kind in QUICK {
        let key = PrivateKey::generate(kind).expect("a key can be made");
        for encoding in ENCODINGS {
            let pem = key.to_pem(encoding).expect("a key can be written");
            let again = PrivateKey::from_pem(pem.as_bytes()).expect("a written key can be read");
            assert_eq!(*again.pkcs8, *key.pkcs8, "{kind} {encoding:?}");
            assert_eq!(*again.to_pem(encoding).expect("and written"), *pem);
        }
    }
}

#[test]
fn what_openssl_writes_we_read() {
    for (arguments, kind) in [
        (&["genrsa", "-traditional", "2048"][..], KeyKind::Rsa { bits: 2048 }),
        (&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2560"], KeyKind::Rsa { bits: 2560 }),
        (&["ecparam", "-name", "prime256v1", "-genkey", "-noout"], KeyKind::Ecdsa(Curve::P256)),
        (&["ecparam", "-name", "secp384r1", "-genkey"], KeyKind::Ecdsa(Curve::P384)),
        (
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"],
            KeyKind::Ecdsa(Curve::P521),
        ),
        (&["genpkey", "-algorithm", "ED25519"], KeyKind::Ed25519),
    ] {
        let pem = openssl(arguments, b"");
        let key = PrivateKey::from_pem(&pem).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert_eq!(key.kind(), kind, "{arguments:?}");
    }
}

#[test]
fn the_labels_are_those_that_go_writes() {
    for (kind, traditional) in [
        (KeyKind::Rsa { bits: 2048 }, "RSA PRIVATE KEY"),
        (KeyKind::Ecdsa(Curve::P256), "EC PRIVATE KEY"),
        (KeyKind::Ed25519, "PRIVATE KEY"),
    ] {
        let key = PrivateKey::generate(kind).expect("a key can be made");
        for (encoding, label) in
            [(KeyEncoding::Traditional, traditional), (KeyEncoding::Pkcs8, "PRIVATE KEY")]
        {
            let pem = key.to_pem(encoding).expect("a key can be written");
            assert!(pem.starts_with(&format!("-----BEGIN {label}-----\n")), "{}", &pem[..40]);
            assert!(pem.ends_with(&format!("\n-----END {label}-----\n")));
            assert!(pem.lines().all(|line| line.len() <= 64));
        }
    }
}

#[test]
fn a_key_is_never_printed() {
    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key can be made");
    assert_eq!(format!("{key:?}"), "PrivateKey(ECDSA P-256, [redacted])");
}

#[test]
fn keys_that_nobody_should_use_are_refused_with_the_reason() {
    for (arguments, says) in [
        (&["genrsa", "1024"][..], "must have 2048 bits at least"),
        (&["ecparam", "-name", "secp256k1", "-genkey", "-noout"], "neither RSA, nor ECDSA"),
        (&["genpkey", "-algorithm", "X25519"], "neither RSA, nor ECDSA"),
        (&["genrsa", "-aes256", "-passout", "pass:x", "2048"], "failed to read the private key"),
    ] {
        let pem = openssl(arguments, b"");
        let error = PrivateKey::from_pem(&pem).expect_err("it is refused").to_string();
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
    let error = PrivateKey::generate(KeyKind::Rsa { bits: 2050 }).expect_err("it can't be made").to_string();
    assert!(error.contains("2050") && error.contains("4096"), "{error}");
}

proptest! {
    #[test]
    fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..400)) {
        _ = PrivateKey::from_pem(&text);
    }

    /// A key with one byte changed is refused or another key; it is never a panic.
    #[test]
    fn no_broken_key_panics(position in any::<prop::sample::Index>(), byte: u8, which in 0..5_usize) {
        let kind = QUICK[which];
        prop_assume!(!matches!(kind, KeyKind::Rsa { .. }));
        let key = PrivateKey::generate(kind).expect("a key can be made");
        let mut der = key.pkcs8.to_vec();
        let position = position.index(der.len());
        der[position] = byte;
        _ = PrivateKey::from_pem(pem::encode(pem::PKCS8, &der).as_bytes());
    }
}
