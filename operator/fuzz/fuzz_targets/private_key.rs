//! No content of a Secret makes the parser of keys panic, and a parsed key survives a round trip through PEM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use operator::pki::{KeyEncoding, PrivateKey};

fuzz_target!(|text: &[u8]| {
    if let Ok(key) = PrivateKey::from_pem(text) {
        let pem = key.to_pem(KeyEncoding::Traditional).expect("PEM");
        let again = PrivateKey::from_pem(pem.as_bytes()).expect("the same key");
        assert_eq!(key.public_key_der().expect("a key"), again.public_key_der().expect("a key"));
    }
});
