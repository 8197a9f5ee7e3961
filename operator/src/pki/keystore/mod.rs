//! Keystores, for Java and Windows programs that don't read PEM. There are no truststores, because an ACME server does
//! not provide a CA certificate. Must not decide which keystores a Certificate gets. Next: `pkcs12.rs`, `jks.rs`.

mod jks;
mod pbmac1;
mod pkcs12;

use jiff::Timestamp;

pub use self::pkcs12::Pkcs12Profile;
use super::{Chain, KeyEncoding, KeyError, PrivateKey};

/// Why a keystore can't be created.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The key can't be encoded.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The format can't represent the password, the alias, or the chain.
    #[error("failed to create the keystore: {0}")]
    Encode(String),
}

/// Creates a PKCS#12 keystore (RFC 7292) with a key and its chain.
///
/// # Errors
/// The format can't represent the key, the chain, or the password.
pub fn pkcs12(
    profile: Pkcs12Profile,
    password: &str,
    key: &PrivateKey,
    chain: &Chain,
) -> Result<Vec<u8>, KeystoreError> {
    let der = key.to_der(KeyEncoding::Pkcs8)?;
    pkcs12::key_store(profile, password, &der, chain.certificates())
}

/// Creates a Java keystore (JKS) with a key and its chain. `now` is the creation time of the entry.
///
/// # Errors
/// The format can't represent the alias or the chain.
pub fn jks(
    password: &str,
    alias: &str,
    key: &PrivateKey,
    chain: &Chain,
    now: Timestamp,
) -> Result<Vec<u8>, KeystoreError> {
    let der = key.to_der(KeyEncoding::Pkcs8)?;
    Ok(jks::Writer::new(password, now).add_key(alias, &der, chain.certificates())?.finish())
}
