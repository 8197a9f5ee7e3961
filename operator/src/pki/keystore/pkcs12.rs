//! PKCS#12 keystores, written by the p12-keystore crate with the encryption profiles of cert-manager.

use std::num::NonZeroU32;

use der::Encode;
use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey, PrivateKeyChain,
};
use pkcs8::ObjectIdentifier;

use super::{KeystoreError, mac, pbmac1, pkcs12_accepts};

/// The iterations of the password hash: the same as in cert-manager's Go library, so that programs don't start more
/// slowly.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(2048).expect("it is not zero");

/// pbeWithSHAAnd3-KeyTripleDES-CBC, RFC 7292 appendix C.
const TRIPLE_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
/// pbeWithSHAAnd40BitRC2-CBC, RFC 7292 appendix C.
const RC2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");
/// id-PBES2, RFC 8018 appendix A.4.
const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");

/// How a keystore is encrypted. The names are those of cert-manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pkcs12Profile {
    /// 3DES, SHA-1.
    LegacyDes,
    /// RC2 with 40 bits, SHA-1.
    LegacyRc2,
    /// AES-256, SHA-256.
    Modern2023,
    /// AES-256, SHA-256, PBMAC1 (RFC 9579).
    Modern2026,
}

impl From<crds::certmanager::Pkcs12Profile> for Pkcs12Profile {
    fn from(profile: crds::certmanager::Pkcs12Profile) -> Self {
        match profile {
            crds::certmanager::Pkcs12Profile::LegacyDES => Self::LegacyDes,
            crds::certmanager::Pkcs12Profile::LegacyRC2 => Self::LegacyRc2,
            crds::certmanager::Pkcs12Profile::Modern2023 => Self::Modern2023,
            crds::certmanager::Pkcs12Profile::Modern2026 => Self::Modern2026,
        }
    }
}

impl Pkcs12Profile {
    /// Returns the algorithms for encryption and MAC.
    fn algorithms(self) -> (EncryptionAlgorithm, MacAlgorithm) {
        match self {
            Self::LegacyDes => (EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc, MacAlgorithm::HmacSha1),
            // The crate says RC4, but the object identifier is that of RC2.
            Self::LegacyRc2 => (EncryptionAlgorithm::PbeWithShaAnd40BitRc4Cbc, MacAlgorithm::HmacSha1),
            // Modern2026 gets its MAC afterwards.
            Self::Modern2023 | Self::Modern2026 => {
                (EncryptionAlgorithm::PbeWithHmacSha256AndAes256, MacAlgorithm::HmacSha256)
            }
        }
    }
}

pub(super) fn key_store(
    profile: Pkcs12Profile,
    password: &str,
    key: &[u8],
    chain: &[Vec<u8>],
) -> Result<Vec<u8>, KeystoreError> {
    let key = PrivateKey::from_der(key).map_err(encode)?;
    let certificates =
        chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>().map_err(encode)?;
    // The local key ID, which links the key to its certificate. Its value is arbitrary.
    let chain = PrivateKeyChain::new(vec![1], key, certificates);
    let mut store = KeyStore::new();
    store.add_entry("certificate", KeyStoreEntry::PrivateKeyChain(chain));
    finish(Some(write(&store, profile, password)?), profile, password)
}

/// Certificates (DER) with their aliases.
pub(super) fn trust_store<'a>(
    profile: Pkcs12Profile,
    password: &str,
    certificates: impl Iterator<Item = (String, &'a Vec<u8>)>,
) -> Result<Vec<u8>, KeystoreError> {
    let mut store = KeyStore::new();
    for (alias, der) in certificates {
        store.add_entry(&alias, KeyStoreEntry::Certificate(Certificate::from_der(der).map_err(encode)?));
    }
    finish(mac::keep_first_safe(&write(&store, profile, password)?, password), profile, password)
}

/// Writes a keystore with the older MAC.
fn write(store: &KeyStore, profile: Pkcs12Profile, password: &str) -> Result<Vec<u8>, KeystoreError> {
    if !pkcs12_accepts(password) {
        let why = "the password of a PKCS#12 keystore can't contain emoji or other characters beyond U+FFFF";
        return Err(KeystoreError::Encode(why.to_owned()));
    }
    let (encryption, mac) = profile.algorithms();
    store
        .writer(password)
        .encryption_algorithm(encryption)
        .encryption_iterations(ITERATIONS.get())
        .mac_algorithm(mac)
        .mac_iterations(ITERATIONS.get())
        .write()
        .map_err(encode)
}

/// Gives a keystore the MAC of its profile.
fn finish(
    written: Option<Vec<u8>>,
    profile: Pkcs12Profile,
    password: &str,
) -> Result<Vec<u8>, KeystoreError> {
    let finished = match profile {
        Pkcs12Profile::Modern2026 => {
            written.and_then(|written| pbmac1::replace_mac(&written, password, ITERATIONS))
        }
        Pkcs12Profile::LegacyDes | Pkcs12Profile::LegacyRc2 | Pkcs12Profile::Modern2023 => written,
    };
    finished.ok_or_else(|| KeystoreError::Encode("the crypto library gives no details".to_owned()))
}

/// Whether a keystore is encrypted with a profile and opens with a password.
pub(super) fn matches(store: &[u8], profile: Pkcs12Profile, password: &str) -> bool {
    profile_of(store) == Some(profile)
        && match profile {
            Pkcs12Profile::Modern2026 => pbmac1::verify_mac(store, password),
            Pkcs12Profile::LegacyDes | Pkcs12Profile::LegacyRc2 | Pkcs12Profile::Modern2023 => {
                mac::verify(store, password)
            }
        }
}

/// The profile of a keystore, by the algorithms in it.
fn profile_of(store: &[u8]) -> Option<Pkcs12Profile> {
    let has = |algorithm: ObjectIdentifier| {
        algorithm.to_der().is_ok_and(|der| store.windows(der.len()).any(|window| window == der))
    };
    // cert-manager's LegacyRC2 encrypts only the certificates with RC2.
    let profiles = [
        (pbmac1::PBMAC1, Pkcs12Profile::Modern2026),
        (PBES2, Pkcs12Profile::Modern2023),
        (RC2, Pkcs12Profile::LegacyRc2),
        (TRIPLE_DES, Pkcs12Profile::LegacyDes),
    ];
    profiles.into_iter().find(|(algorithm, _)| has(*algorithm)).map(|(_, profile)| profile)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes it by value")]
fn encode(error: p12_keystore::error::Error) -> KeystoreError {
    KeystoreError::Encode(error.to_string())
}
