//! No response of a CA makes the parser of chains panic, and a parsed chain survives a round trip through PEM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use operator::pki::Chain;

fuzz_target!(|text: &[u8]| {
    if let Ok(chain) = Chain::from_pem(text) {
        assert_eq!(Chain::from_pem(chain.to_pem().as_bytes()).ok(), Some(chain));
    }
});
