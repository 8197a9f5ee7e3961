//! Temporary certificates from an untrusted CA, for ingress controllers that serve nothing without a certificate.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData, SerialNumber,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use time::OffsetDateTime;

use super::{CsrError, KeyEncoding, PrivateKey};

/// The common name of the issuer of every temporary certificate. The same as in cert-manager.
pub(super) const TEMPORARY_ISSUER: &str = "cert-manager.local";

/// The serial number of every temporary certificate, 1234567890 as DER has it. The same as in cert-manager.
pub(super) const TEMPORARY_SERIAL_NUMBER: [u8; 4] = 1_234_567_890_u32.to_be_bytes();

/// The validity of a temporary certificate: much longer than an issuance takes.
const LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Creates a temporary certificate for a key, PEM. The key of its CA is discarded.
///
/// # Errors
/// A name is not allowed in a certificate.
pub fn temporary(
    key: &PrivateKey,
    dns_names: &[String],
    ip_addresses: &[IpAddr],
    now: Timestamp,
) -> Result<String, CsrError> {
    let addresses = ip_addresses.iter().map(ToString::to_string);
    let names: Vec<_> = dns_names.iter().cloned().chain(addresses).collect();
    sign_leaf(TEMPORARY_ISSUER, key, names, now, LIFETIME)
}

fn sign_leaf(
    name: &str,
    key: &PrivateKey,
    names: Vec<String>,
    now: Timestamp,
    lifetime: SignedDuration,
) -> Result<String, CsrError> {
    let mut leaf = CertificateParams::new(names).map_err(CsrError::Sign)?;
    leaf.not_before = date(now);
    leaf.not_after = date(now.checked_add(lifetime).unwrap_or(Timestamp::MAX));
    leaf.serial_number = Some(SerialNumber::from_slice(&TEMPORARY_SERIAL_NUMBER));
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, name);
    let authority_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).map_err(CsrError::Sign)?;
    let issuer = Issuer::new(authority, authority_key);
    let public_key = public_key(key)?;
    let signed = leaf.signed_by(&public_key, &issuer).map_err(CsrError::Sign)?;
    Ok(signed.pem().replace("\r\n", "\n"))
}

/// Converts the public key for rcgen, which does not sign with it.
fn public_key(key: &PrivateKey) -> Result<impl PublicKeyData, CsrError> {
    let algorithm = super::SignatureAlgorithm::default_for(key.kind());
    let algorithm = algorithm.rcgen_algorithm(key.kind()).ok_or(CsrError::Algorithm(key.kind()))?;
    let pkcs8 = key.to_der(KeyEncoding::Pkcs8)?;
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()), algorithm)
        .map_err(CsrError::Sign)
}

fn date(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A CA for tests of other modules.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Issues a certificate for a key and names, PEM.
    pub(crate) fn issue(
        key: &PrivateKey,
        dns_names: &[String],
        now: Timestamp,
        lifetime: SignedDuration,
    ) -> String {
        sign_leaf("Test CA", key, dns_names.to_vec(), now, lifetime).expect("good names")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Chain, Curve, KeyKind};

    #[test]
    fn temporary_matches_key_names_and_issuer() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        for kind in [KeyKind::Rsa { bits: 2048 }, KeyKind::Ecdsa(Curve::P384), KeyKind::Ed25519] {
            let key = PrivateKey::generate(kind).expect("a key");
            let names = ["web.example.test".to_owned()];
            let addresses = ["192.0.2.1".parse().expect("an address")];
            let pem = temporary(&key, &names, &addresses, now).expect("a certificate");
            let chain = Chain::from_pem(pem.as_bytes()).expect("a chain");
            chain.check(&key, &names, &addresses, now).expect("an accepted chain");
            assert!(matches!(Chain::presented(pem.as_bytes()), Ok((_, true))));
            assert_eq!(chain.topmost_issuer(), "cert-manager.local");
        }
    }
}
