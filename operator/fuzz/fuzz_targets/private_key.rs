//! A Secret may hold anything: what is read as a key is written and read again as the same key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use operator::pki::{KeyEncoding, PrivateKey};

fuzz_target!(|text: &[u8]| {
    if let Ok(key) = PrivateKey::from_pem(text) {
        let pem = key.to_pem(KeyEncoding::Traditional).expect("what was read can be written");
        let again = PrivateKey::from_pem(pem.as_bytes()).expect("what was written can be read");
        assert_eq!(key.public_key_der().expect("a key"), again.public_key_der().expect("a key"));
    }
});
