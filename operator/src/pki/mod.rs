//! Keys, CSRs and certificates: the only user of rcgen, x509-parser and rustls-pemfile.
//!
//! Everything that comes from outside is bounded before it is parsed, and a refusal says what is wrong in words for a
//! condition. No clock, no network. What blocks for long (making an RSA key) says so. Next: `key.rs`, `csr.rs`,
//! `chain.rs`.

mod chain;
mod csr;
mod key;
mod keystore;
mod limits;
mod pem;
mod temporary;

#[cfg(test)]
pub(crate) use self::temporary::testing;
pub use self::{
    chain::{Chain, ChainError, LeafCertificate},
    csr::{Csr, CsrError, CsrRequest, OtherName, ReadCsrError, SignatureAlgorithm, Subject},
    key::{Curve, KeyEncoding, KeyError, KeyKind, PrivateKey, PublicComponents},
    keystore::{KeystoreError, Pkcs12Profile, jks, pkcs12},
    temporary::{TEMPORARY_ISSUER, temporary},
};

/// Key and chain in one text, as the output format `CombinedPEM` has it: the key, an empty line, the chain.
///
/// ```
/// assert_eq!(operator::pki::combined_pem("key\n", "chain\n").as_str(), "key\n\nchain\n");
/// ```
pub fn combined_pem(key: &str, chain: &str) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(format!("{key}\n{chain}"))
}
