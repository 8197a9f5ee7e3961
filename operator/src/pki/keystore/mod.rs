//! Keystores, for Java and Windows programs that don't read PEM. There are no truststores, because an ACME server does
//! not provide a CA certificate. Must not decide which keystores a Certificate gets. Next: `pkcs12.rs`, `jks.rs`.

mod jks;
mod mac;
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

/// Whether a PKCS#12 keystore is encrypted with a profile and opens with a password.
pub fn pkcs12_matches(store: &[u8], profile: Pkcs12Profile, password: &str) -> bool {
    pkcs12::matches(store, profile, password)
}

/// Whether a password can be that of a PKCS#12 keystore.
pub fn pkcs12_accepts(password: &str) -> bool {
    password.chars().all(|character| u32::from(character) <= 0xffff)
}

/// Whether an alias can be in a Java keystore.
pub fn jks_accepts(alias: &str) -> bool {
    u16::try_from(alias.len()).is_ok()
        && alias.chars().all(|character| character != '\0' && u32::from(character) <= 0xffff)
}

/// Whether a Java keystore opens with a password, and its first entry has an alias.
pub fn jks_matches(store: &[u8], alias: &str, password: &str) -> bool {
    jks::matches(store, alias, password)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Curve, KeyKind, temporary};

    #[test]
    fn keystores_match_what_they_were_created_with() -> Result<(), Box<dyn std::error::Error>> {
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256))?;
        let names = ["store.example.test".to_owned()];
        let chain = temporary(&key, &names, &[], Timestamp::UNIX_EPOCH)?;
        let chain = Chain::from_pem(chain.as_bytes())?;
        let profiles = [
            Pkcs12Profile::LegacyDes,
            Pkcs12Profile::LegacyRc2,
            Pkcs12Profile::Modern2023,
            Pkcs12Profile::Modern2026,
        ];
        for password in ["", "changeit", "pässwörd with spaces", &"long".repeat(64)] {
            let store = jks(password, "Web", &key, &chain, Timestamp::UNIX_EPOCH)?;
            assert!(jks_matches(&store, "web", password), "{password:?}");
            assert!(!jks_matches(&store, "web", "another"), "{password:?}");
            assert!(!jks_matches(&store, "other", password), "{password:?}");
            for profile in profiles {
                let store = pkcs12(profile, password, &key, &chain)?;
                for other in profiles {
                    let matches = pkcs12_matches(&store, other, password);
                    assert_eq!(matches, other == profile, "{profile:?} {other:?} {password:?}");
                }
                assert!(!pkcs12_matches(&store, profile, "another"), "{profile:?} {password:?}");
            }
        }
        let store = jks("🔑", "web", &key, &chain, Timestamp::UNIX_EPOCH)?;
        assert!(jks_matches(&store, "web", "🔑"));
        let error =
            pkcs12(Pkcs12Profile::Modern2023, "🔑", &key, &chain).expect_err("the format has no such text");
        assert!(error.to_string().contains("U+FFFF"), "{error}");
        Ok(())
    }

    /// Users can write what is checked: it must cost next to nothing.
    #[test]
    fn hostile_iterations_do_not_match() -> Result<(), Box<dyn std::error::Error>> {
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256))?;
        let chain = temporary(&key, &["a".to_owned()], &[], Timestamp::UNIX_EPOCH)?;
        let chain = Chain::from_pem(chain.as_bytes())?;
        let iterations = [0x02, 0x02, 0x08, 0x00];
        for profile in [Pkcs12Profile::LegacyRc2, Pkcs12Profile::Modern2023, Pkcs12Profile::Modern2026] {
            let mut store = pkcs12(profile, "changeit", &key, &chain)?;
            for at in 0..store.len() - iterations.len() {
                if store[at..].starts_with(&iterations) {
                    store[at + 2..at + 4].copy_from_slice(&[0x7f, 0xff]);
                }
            }
            assert!(!pkcs12_matches(&store, profile, "changeit"), "{profile:?}");
        }
        Ok(())
    }

    #[test]
    fn anything_else_does_not_match() {
        for store in [&b""[..], b"text", &[0xfe; 40], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
            assert!(!jks_matches(store, "web", ""), "{store:?}");
            assert!(!pkcs12_matches(store, Pkcs12Profile::Modern2026, ""), "{store:?}");
            assert!(!pkcs12_matches(store, Pkcs12Profile::LegacyRc2, ""), "{store:?}");
        }
    }
}
