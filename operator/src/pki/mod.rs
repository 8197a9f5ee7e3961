//! Keys, CSRs and certificates: the only user of rcgen, x509-parser and rustls-pemfile.
//!
//! Everything that comes from outside is bounded before it is parsed, and a refusal says what is wrong in words for a
//! condition. No clock, no network. What blocks for long (making an RSA key) says so. Next: `key.rs`, `csr.rs`,
//! `chain.rs`.

mod chain;
mod csr;
mod key;
mod limits;
mod pem;

pub use self::{
    chain::{Chain, ChainError, LeafCertificate},
    csr::{CsrError, CsrRequest, OtherName, SignatureAlgorithm, Subject},
    key::{Curve, KeyEncoding, KeyError, KeyKind, PrivateKey, PublicComponents},
};
