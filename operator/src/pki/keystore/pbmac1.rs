//! The password-based MAC of newer PKCS#12 keystores (RFC 9579). p12-keystore can't write it, so it replaces the older
//! MAC.

use std::num::NonZeroU32;

use aws_lc_rs::{hmac, pbkdf2, rand};
use der::{
    AnyRef, Decode, Encode, Sequence,
    asn1::{Null, OctetStringRef},
};
use pkcs8::ObjectIdentifier;
use zeroize::Zeroizing;

/// id-PBMAC1, RFC 8018 appendix A.5.
pub(super) const PBMAC1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.14");
/// id-PBKDF2, RFC 8018 appendix A.2.
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
/// id-hmacWithSHA256, RFC 8018 appendix B.1.2.
const HMAC_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");

const SALT_LENGTH: usize = 16;
const KEY_LENGTH: u16 = 32;
/// The value of the salt field of the older MAC, which PBMAC1 does not use.
const UNUSED_SALT: &[u8] = b"NOT USED";

/// `PFX`, RFC 7292 section 4, with any MAC.
#[derive(Sequence)]
pub(super) struct Pfx<'a> {
    pub(super) version: u8,
    pub(super) auth_safe: ContentInfo<'a>,
    pub(super) mac_data: AnyRef<'a>,
}

/// The same with PBMAC1.
#[derive(Sequence)]
struct PfxWithPbmac1<'a> {
    version: u8,
    auth_safe: ContentInfo<'a>,
    mac_data: MacData<'a, Pbmac1<'a>>,
}

#[derive(Sequence)]
pub(super) struct ContentInfo<'a> {
    pub(super) content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    pub(super) content: &'a OctetStringRef,
}

/// `MacData`, RFC 7292 section 4, with an algorithm identifier of type `A`.
#[derive(Sequence)]
pub(super) struct MacData<'a, A: Decode<'a, Error = der::Error> + Encode> {
    pub(super) mac: DigestInfo<'a, A>,
    pub(super) mac_salt: &'a OctetStringRef,
    /// Their default is 1. PBMAC1 does not use them; cert-manager writes them.
    #[asn1(optional = "true")]
    pub(super) iterations: Option<u32>,
}

#[derive(Sequence)]
pub(super) struct DigestInfo<'a, A: Decode<'a, Error = der::Error> + Encode> {
    pub(super) algorithm: A,
    pub(super) digest: &'a OctetStringRef,
}

#[derive(Sequence)]
struct Pbmac1<'a> {
    oid: ObjectIdentifier,
    parameters: Pbmac1Parameters<'a>,
}

#[derive(Sequence)]
struct Pbmac1Parameters<'a> {
    key_derivation: Pbkdf2<'a>,
    message_authentication: HmacSha256,
}

#[derive(Sequence)]
struct Pbkdf2<'a> {
    oid: ObjectIdentifier,
    parameters: Pbkdf2Parameters<'a>,
}

#[derive(Sequence)]
struct Pbkdf2Parameters<'a> {
    salt: &'a OctetStringRef,
    iterations: u32,
    key_length: u16,
    function: HmacSha256,
}

#[derive(Sequence)]
struct HmacSha256 {
    oid: ObjectIdentifier,
    /// cert-manager leaves them out.
    #[asn1(optional = "true")]
    parameters: Option<Null>,
}

impl HmacSha256 {
    const fn new() -> Self {
        Self { oid: HMAC_SHA256, parameters: Some(Null) }
    }
}

/// The most iterations that are computed for a MAC, a few milliseconds. The operator and cert-manager write fewer, and more would keep
/// everything else waiting.
pub(super) const MOST_ITERATIONS: u32 = 10_000;

/// Whether a keystore has a MAC of this kind that a password leads to.
pub(super) fn verify_mac(store: &[u8], password: &str) -> bool {
    let Ok(PfxWithPbmac1 { auth_safe, mac_data, .. }) = PfxWithPbmac1::from_der(store) else { return false };
    let Pbkdf2Parameters { salt, iterations, .. } =
        mac_data.mac.algorithm.parameters.key_derivation.parameters;
    let Some(iterations) = NonZeroU32::new(iterations).filter(|it| it.get() <= MOST_ITERATIONS) else {
        return false;
    };
    let mut key = Zeroizing::new([0; KEY_LENGTH as usize]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt.as_bytes(), password.as_bytes(), &mut *key);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &*key);
    hmac::verify(&key, auth_safe.content.as_bytes(), mac_data.mac.digest.as_bytes()).is_ok()
}

/// Replaces the MAC of a keystore. Returns `None` if no randomness is available or `store` is not a keystore with a
/// MAC.
pub(super) fn replace_mac(store: &[u8], password: &str, iterations: NonZeroU32) -> Option<Vec<u8>> {
    let Pfx { version, auth_safe, mac_data: _ } = Pfx::from_der(store).ok()?;
    let mut salt = [0; SALT_LENGTH];
    rand::fill(&mut salt).ok()?;
    let mut key = Zeroizing::new([0; KEY_LENGTH as usize]);
    // PBMAC1 takes the password as UTF-8; the rest of PKCS#12 uses UTF-16.
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut *key);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*key), auth_safe.content.as_bytes());
    let key_derivation = Pbkdf2 {
        oid: PBKDF2,
        parameters: Pbkdf2Parameters {
            salt: OctetStringRef::new(&salt).ok()?,
            iterations: iterations.get(),
            key_length: KEY_LENGTH,
            function: HmacSha256::new(),
        },
    };
    let algorithm = Pbmac1 {
        oid: PBMAC1,
        parameters: Pbmac1Parameters { key_derivation, message_authentication: HmacSha256::new() },
    };
    let mac_data = MacData {
        mac: DigestInfo { algorithm, digest: OctetStringRef::new(mac.as_ref()).ok()? },
        mac_salt: OctetStringRef::new(UNUSED_SALT).ok()?,
        iterations: None,
    };
    PfxWithPbmac1 { version, auth_safe, mac_data }.to_der().ok()
}
