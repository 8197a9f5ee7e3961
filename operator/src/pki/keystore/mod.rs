//! Key stores: what Java and Windows programs read in place of PEM. Stores of trusted certificates are not made: an ACME
//! server tells no certificate to trust.

mod jks;
mod pbmac1;
mod pkcs12;

use jiff::Timestamp;

pub use self::pkcs12::Pkcs12Profile;
use super::{Chain, KeyEncoding, KeyError, PrivateKey};

/// Why there is no key store.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The key can't be written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The password has characters that the form can't hold, or the chain can't be held.
    #[error("failed to make a key store: {0}")]
    Encode(String),
}

/// Key and chain as a PKCS#12 key store, RFC 7292.
///
/// # Errors
/// It can't be written.
pub fn pkcs12(
    profile: Pkcs12Profile,
    password: &str,
    key: &PrivateKey,
    chain: &Chain,
) -> Result<Vec<u8>, KeystoreError> {
    let der = key.to_der(KeyEncoding::Pkcs8)?;
    pkcs12::key_store(profile, password, &der, chain.certificates())
}

/// Key and chain as a Java key store.
///
/// # Errors
/// It can't be written.
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
