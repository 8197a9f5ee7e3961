//! Whether a password opens a PKCS#12 keystore, by its older MAC (RFC 7292 section 5) alone.
//!
//! Users can write the keystore that is checked, so nothing in it is decrypted, and the work is bounded.

use aws_lc_rs::hmac;
use der::Decode;
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier};
use pkcs12::kdf::{Pkcs12KeyType, derive_key_utf8};
use zeroize::Zeroizing;

use super::pbmac1::{MOST_ITERATIONS, MacData, Pfx};

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
    let MacData::<'_, AlgorithmIdentifierRef<'_>> { mac, mac_salt, iterations } =
        mac_data.decode_as().ok()?;
    let iterations = iterations.unwrap_or(1);
    if iterations > MOST_ITERATIONS {
        return None;
    }
    let rounds = i32::try_from(iterations).ok()?;
    let (salt, kind) = (mac_salt.as_bytes(), Pkcs12KeyType::Mac);
    let (algorithm, key) = match mac.algorithm.oid {
        SHA1 => (
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            derive_key_utf8::<sha1::Sha1>(password, salt, kind, rounds, 20).ok()?,
        ),
        SHA256 => {
            (hmac::HMAC_SHA256, derive_key_utf8::<sha2::Sha256>(password, salt, kind, rounds, 32).ok()?)
        }
        _ => return None,
    };
    let key = hmac::Key::new(algorithm, &Zeroizing::new(key));
    Some(hmac::verify(&key, auth_safe.content.as_bytes(), mac.digest.as_bytes()).is_ok())
}
