//! The older MAC of PKCS#12 keystores (RFC 7292 section 5): whether a password opens a keystore is checked by it alone.
//!
//! Users can write the keystore that is checked, so nothing in it is decrypted, and the work is bounded.

use aws_lc_rs::hmac;
use der::{AnyRef, Decode, Encode, asn1::OctetStringRef};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier};
use pkcs12::kdf::{Pkcs12KeyType, derive_key_utf8};
use zeroize::Zeroizing;

use super::pbmac1::{ContentInfo, MOST_ITERATIONS, MacData, Pfx};

/// id-sha1, RFC 8017 appendix A.2.4.
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
/// id-sha256, RFC 8017 appendix A.2.4.
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// Whether a keystore has a MAC that a password leads to.
pub(super) fn verify(store: &[u8], password: &str) -> bool {
    matches(store, password).unwrap_or_default()
}

fn matches(store: &[u8], password: &str) -> Option<bool> {
    let Pfx { auth_safe, mac_data, .. } = Pfx::from_der(store).ok()?;
    let mac_data: Mac<'_> = mac_data.decode_as().ok()?;
    let (key, digest) = (key(&mac_data, password)?, mac_data.mac.digest);
    Some(hmac::verify(&key, auth_safe.content.as_bytes(), digest.as_bytes()).is_ok())
}

type Mac<'a> = MacData<'a, AlgorithmIdentifierRef<'a>>;

fn key(of: &Mac<'_>, password: &str) -> Option<hmac::Key> {
    let iterations = of.iterations.unwrap_or(1);
    if iterations > MOST_ITERATIONS {
        return None;
    }
    let rounds = i32::try_from(iterations).ok()?;
    let (salt, kind) = (of.mac_salt.as_bytes(), Pkcs12KeyType::Mac);
    let (algorithm, key) = match of.mac.algorithm.oid {
        SHA1 => (
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            derive_key_utf8::<sha1::Sha1>(password, salt, kind, rounds, 20).ok()?,
        ),
        SHA256 => {
            (hmac::HMAC_SHA256, derive_key_utf8::<sha2::Sha256>(password, salt, kind, rounds, 32).ok()?)
        }
        _ => return None,
    };
    Some(hmac::Key::new(algorithm, &Zeroizing::new(key)))
}

/// Removes all safes but the first from a keystore, and computes the MAC again: Go reads truststores with one safe only, and p12-keystore
/// adds an empty one for keys.
pub(super) fn keep_first_safe(store: &[u8], password: &str) -> Option<Vec<u8>> {
    let Pfx { version, auth_safe, mac_data } = Pfx::from_der(store).ok()?;
    let safes = Vec::<AnyRef<'_>>::from_der(auth_safe.content.as_bytes()).ok()?;
    let content = vec![*safes.first()?].to_der().ok()?;
    let mut mac_data: Mac<'_> = mac_data.decode_as().ok()?;
    let digest = hmac::sign(&key(&mac_data, password)?, &content);
    mac_data.mac.digest = OctetStringRef::new(digest.as_ref()).ok()?;
    let mac_data = mac_data.to_der().ok()?;
    let auth_safe =
        ContentInfo { content_type: auth_safe.content_type, content: OctetStringRef::new(&content).ok()? };
    Pfx { version, auth_safe, mac_data: AnyRef::from_der(&mac_data).ok()? }.to_der().ok()
}
