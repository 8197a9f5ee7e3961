//! No content of a CertificateRequest makes the parser of CSRs panic, and parsing is repeatable.
#![no_main]

use libfuzzer_sys::fuzz_target;
use operator::pki::Csr;

fuzz_target!(|text: &[u8]| {
    if let Ok(csr) = Csr::from_pem(text) {
        _ = csr.verify();
        assert!(!csr.der.is_empty() && !csr.public_key_der.is_empty());
        assert_eq!(Csr::from_pem(text).ok(), Some(csr));
    }
});
