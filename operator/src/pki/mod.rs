//! Keys, CSRs, certificates, and keystores: the only user of rcgen, x509-parser, and rustls-pemfile. External input is
//! limited in size before it is parsed, and every error text can be shown in a condition. Must not read the clock or
//! use the network; slow functions (RSA key generation) say so. Next: `key/mod.rs`, `csr/mod.rs`, `chain/mod.rs`.

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
    chain::{Chain, ChainError, LeafCertificate, check_not_worse},
    csr::{
        Csr, CsrError, CsrRequest, NameConstraints, OtherName, ReadCsrError, SignatureAlgorithm, Subject,
        Subtree,
    },
    key::{Curve, KeyEncoding, KeyError, KeyKind, PrivateKey, PublicComponents},
    keystore::{
        Authorities, KeystoreError, Pkcs12Profile, jks, jks_accepts, jks_matches, jks_trust, pkcs12,
        pkcs12_accepts, pkcs12_matches, pkcs12_trust,
    },
    limits::{
        MAX_ACCOUNT_KEY_BITS, MAX_AUTHORITIES_PEM_BYTES, MAX_CHAIN_LENGTH, MAX_CHAIN_PEM_BYTES,
        MAX_CSR_PEM_BYTES, MAX_FAST_CHAIN_PEM_BYTES, MAX_FAST_KEY_PEM_BYTES, MAX_KEY_PEM_BYTES,
    },
    temporary::temporary,
};

/// Returns the key and the chain in one text, for the output format `CombinedPEM`: the key, an empty line, the chain.
///
/// ```
/// assert_eq!(operator::pki::combined_pem("key\n", "chain\n").as_str(), "key\n\nchain\n");
/// ```
pub fn combined_pem(key: &str, chain: &str) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(format!("{key}\n{chain}"))
}
