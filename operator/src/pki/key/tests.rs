//! OpenSSL reads the keys that we write, and writes keys that we read.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::*;

const FAST_KINDS: [KeyKind; 5] = [
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
    child.stdin.take().expect("stdin").write_all(input).expect("openssl reads");
    let output = child.wait_with_output().expect("openssl exits");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn openssl_reads_every_key_encoding() {
    for kind in FAST_KINDS {
        let key = PrivateKey::generate(kind).expect("a key");
        assert_eq!(key.kind(), kind);
        for encoding in ENCODINGS {
            let pem = key.to_pem(encoding).expect("PEM");
            openssl(&["pkey", "-check", "-noout"], pem.as_bytes());
            let public = openssl(&["pkey", "-pubout", "-outform", "DER"], pem.as_bytes());
            assert_eq!(public, key.public_key_der().expect("a public key"), "{kind} {encoding:?}");
        }
    }
}

fn pkcs8(key: &PrivateKey) -> Vec<u8> {
    key.to_der(KeyEncoding::Pkcs8).expect("DER").to_vec()
}

#[test]
fn keys_survive_a_round_trip() {
    for kind in FAST_KINDS {
        let key = PrivateKey::generate(kind).expect("a key");
        for encoding in ENCODINGS {
            let pem = key.to_pem(encoding).expect("PEM");
            let again = PrivateKey::from_pem(pem.as_bytes()).expect("a key");
            assert_eq!(pkcs8(&again), pkcs8(&key), "{kind} {encoding:?}");
            assert_eq!(*again.to_pem(encoding).expect("PEM"), *pem);
        }
    }
}

#[test]
fn keys_from_openssl_are_read() {
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
fn pem_labels_match_those_of_go() {
    for (kind, traditional) in [
        (KeyKind::Rsa { bits: 2048 }, "RSA PRIVATE KEY"),
        (KeyKind::Ecdsa(Curve::P256), "EC PRIVATE KEY"),
        (KeyKind::Ed25519, "PRIVATE KEY"),
    ] {
        let key = PrivateKey::generate(kind).expect("a key");
        for (encoding, label) in
            [(KeyEncoding::Traditional, traditional), (KeyEncoding::Pkcs8, "PRIVATE KEY")]
        {
            let pem = key.to_pem(encoding).expect("PEM");
            assert!(pem.starts_with(&format!("-----BEGIN {label}-----\n")), "{}", &pem[..40]);
            assert!(pem.ends_with(&format!("\n-----END {label}-----\n")));
            assert!(pem.lines().all(|line| line.len() <= 64));
        }
    }
}

#[test]
fn private_key_is_never_printed() {
    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
    assert_eq!(format!("{key:?}"), "PrivateKey(ECDSA P-256, [redacted])");
}

#[test]
fn unsuitable_keys_are_rejected_with_the_reason() {
    for (arguments, message) in [
        (&["genrsa", "1024"][..], "at least 2048"),
        (&["ecparam", "-name", "secp256k1", "-genkey", "-noout"], "not an RSA, ECDSA"),
        (&["genpkey", "-algorithm", "X25519"], "not an RSA, ECDSA"),
        (&["genrsa", "-aes256", "-passout", "pass:x", "2048"], "failed to read the private key"),
    ] {
        let pem = openssl(arguments, b"");
        let error = PrivateKey::from_pem(&pem).expect_err("an error").to_string();
        assert!(error.contains(message), "{arguments:?}: {error}");
    }
    let error = PrivateKey::generate(KeyKind::Rsa { bits: 2050 }).expect_err("an error").to_string();
    assert!(error.contains("2050") && error.contains("4096"), "{error}");
}

proptest! {
    #[test]
    fn from_pem_never_panics(text in prop::collection::vec(any::<u8>(), 0..400)) {
        _ = PrivateKey::from_pem(&text);
    }

    /// A key with one changed byte is parsed as another key or rejected.
    #[test]
    fn broken_key_never_panics(position in any::<prop::sample::Index>(), byte: u8, which in 0..5_usize) {
        let kind = FAST_KINDS[which];
        prop_assume!(!matches!(kind, KeyKind::Rsa { .. }));
        let key = PrivateKey::generate(kind).expect("a key");
        let mut der = pkcs8(&key);
        let position = position.index(der.len());
        der[position] = byte;
        _ = PrivateKey::from_pem(pem::encode(pem::PKCS8, &der).as_bytes());
    }
}

/// By the length, before the key is parsed.
#[test]
fn long_key_is_read_on_a_thread_of_its_own() {
    let length = |bits| openssl(&["genrsa", bits], b"").len();
    assert!(length("4096") <= limits::MAX_FAST_KEY_PEM_BYTES);
    assert!(length("6144") > limits::MAX_FAST_KEY_PEM_BYTES);
}

/// Each request to the CA is signed on a thread that serves other issuers.
#[test]
fn long_key_is_refused_for_accounts() {
    let key = |bits| PrivateKey::from_pem(&openssl(&["genrsa", bits], b"")).expect("a key");
    assert!(key("2048").for_account().is_ok_and(|key| !key.is_slow()));
    let long = key("4104");
    assert!(long.is_slow());
    let error = long.for_account().expect_err("too long").to_string();
    assert!(error.ends_with("must have at most 4096 bits, not 4104"), "{error}");
}
