//! Keystores and truststores, for Java and Windows programs that don't read PEM. What a truststore has is what the issuer provides as
//! its CA, which an ACME server doesn't. Must not decide which of them a Certificate gets. Next: `pkcs12.rs`, `jks.rs`.

mod jks;
mod mac;
mod pbmac1;
mod pkcs12;

use jiff::Timestamp;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

pub use self::pkcs12::Pkcs12Profile;
use super::{Chain, KeyEncoding, KeyError, PrivateKey, limits, pem};

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

/// The certificates of the CA that a keystore has after the chain, and a truststore alone.
#[derive(Clone, Debug, Default)]
pub struct Authorities(Vec<Vec<u8>>);

impl Authorities {
    /// Parses the certificates in `ca.crt`, which any issuer may have written. Malformed ones are left out, and nothing is trusted if
    /// the text is not PEM or too long.
    pub fn from_pem(text: &[u8]) -> Self {
        let parsed = pem::certificates(text, limits::MAX_AUTHORITIES_PEM_BYTES, usize::MAX);
        let mut certificates = parsed.unwrap_or_default();
        certificates.retain(|der| matches!(X509Certificate::from_der(der), Ok(([], _))));
        Self(certificates)
    }

    /// Whether there is nothing to trust.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The certificates, DER, each with the alias that it has in cert-manager's Java keystores.
    fn entries(&self) -> impl Iterator<Item = (String, &Vec<u8>)> {
        self.0
            .iter()
            .enumerate()
            .map(|(index, der)| (if index == 0 { "ca".to_owned() } else { format!("ca-{index}") }, der))
    }
}

/// Creates a PKCS#12 keystore (RFC 7292) with a key, its chain, and the certificates of the CA that the chain lacks.
///
/// # Errors
/// The format can't represent the key, the chain, or the password.
pub fn pkcs12(
    profile: Pkcs12Profile,
    password: &str,
    key: &PrivateKey,
    chain: &Chain,
    authorities: &Authorities,
) -> Result<Vec<u8>, KeystoreError> {
    let der = key.to_der(KeyEncoding::Pkcs8)?;
    let missing = authorities.0.iter().filter(|it| !chain.certificates().contains(it));
    let all: Vec<_> = chain.certificates().iter().chain(missing).cloned().collect();
    pkcs12::key_store(profile, password, &der, &all)
}

/// Creates a PKCS#12 truststore with the certificates of the CA.
///
/// # Errors
/// The format can't represent the password.
pub fn pkcs12_trust(
    profile: Pkcs12Profile,
    password: &str,
    authorities: &Authorities,
) -> Result<Vec<u8>, KeystoreError> {
    pkcs12::trust_store(profile, password, authorities.entries())
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

/// Whether a Java keystore opens with a password, and its key has an alias.
pub fn jks_matches(store: &[u8], alias: &str, password: &str) -> bool {
    jks::matches(store, alias, password)
}

/// Creates a Java keystore (JKS) with a key, its chain, and the certificates of the CA. `now` is the creation time of the entries.
///
/// # Errors
/// The format can't represent the alias or the chain.
pub fn jks(
    password: &str,
    alias: &str,
    key: &PrivateKey,
    chain: &Chain,
    authorities: &Authorities,
    now: Timestamp,
) -> Result<Vec<u8>, KeystoreError> {
    let der = key.to_der(KeyEncoding::Pkcs8)?;
    let writer = jks::Writer::new(password, now).add_key(alias, &der, chain.certificates())?;
    Ok(writer.add_trusted(authorities.entries())?.finish())
}

/// Creates a Java truststore (JKS) with the certificates of the CA. `now` is the creation time of the entries.
///
/// # Errors
/// A certificate is longer than the format can represent.
pub fn jks_trust(
    password: &str,
    authorities: &Authorities,
    now: Timestamp,
) -> Result<Vec<u8>, KeystoreError> {
    Ok(jks::Writer::new(password, now).add_trusted(authorities.entries())?.finish())
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
        let authorities = Authorities::from_pem(chain.as_bytes());
        assert!(!authorities.is_empty());
        let chain = Chain::from_pem(chain.as_bytes())?;
        let profiles = [
            Pkcs12Profile::LegacyDes,
            Pkcs12Profile::LegacyRc2,
            Pkcs12Profile::Modern2023,
            Pkcs12Profile::Modern2026,
        ];
        for password in ["", "changeit", "pässwörd with spaces", &"long".repeat(64)] {
            let store = jks(password, "Web", &key, &chain, &authorities, Timestamp::UNIX_EPOCH)?;
            assert!(jks_matches(&store, "web", password), "{password:?}");
            assert!(!jks_matches(&store, "web", "another"), "{password:?}");
            assert!(!jks_matches(&store, "other", password), "{password:?}");
            assert!(!jks_matches(&store, "ca", password), "the alias of a trusted certificate");
            for profile in profiles {
                let store = pkcs12(profile, password, &key, &chain, &authorities)?;
                for other in profiles {
                    let matches = pkcs12_matches(&store, other, password);
                    assert_eq!(matches, other == profile, "{profile:?} {other:?} {password:?}");
                }
                assert!(!pkcs12_matches(&store, profile, "another"), "{profile:?} {password:?}");
            }
        }
        let store = jks("🔑", "web", &key, &chain, &authorities, Timestamp::UNIX_EPOCH)?;
        assert!(jks_matches(&store, "web", "🔑"));
        let error = pkcs12(Pkcs12Profile::Modern2023, "🔑", &key, &chain, &authorities)
            .expect_err("the format has no such text");
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
            let mut store = pkcs12(profile, "changeit", &key, &chain, &Authorities::default())?;
            for at in 0..store.len() - iterations.len() {
                if store[at..].starts_with(&iterations) {
                    store[at + 2..at + 4].copy_from_slice(&[0x7f, 0xff]);
                }
            }
            assert!(!pkcs12_matches(&store, profile, "changeit"), "{profile:?}");
        }
        Ok(())
    }

    /// An issuer of another group may write anything.
    #[test]
    fn only_well_formed_certificates_are_trusted() {
        let malformed = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "their CA", malformed, &malformed.repeat(5000)] {
            assert!(Authorities::from_pem(text.as_bytes()).is_empty(), "{}", text.len());
        }
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
