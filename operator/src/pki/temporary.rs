//! A certificate that nobody trusts, for an ingress controller that serves nothing without one.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData, SerialNumber,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use time::OffsetDateTime;

use super::{CsrError, PrivateKey};

/// The issuer of every temporary certificate, by which it is known: cert-manager's.
pub const TEMPORARY_ISSUER: &str = "cert-manager.local";

/// Its serial number, as cert-manager has it.
const SERIAL_NUMBER: u64 = 1_234_567_890;

/// How long it is valid: the real one comes long before.
const LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Makes a temporary certificate for a key, PEM. Its CA's key is thrown away.
///
/// # Errors
/// A name can't stand in a certificate.
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
    leaf.serial_number = Some(SerialNumber::from(SERIAL_NUMBER));
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, name);
    let authority_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).map_err(CsrError::Sign)?;
    let issuer = Issuer::new(authority, authority_key);
    let public_key = public_key(key)?;
    let signed = leaf.signed_by(&public_key, &issuer).map_err(CsrError::Sign)?;
    Ok(signed.pem().replace("\r\n", "\n"))
}

/// rcgen's view of a key that it does not sign with.
fn public_key(key: &PrivateKey) -> Result<impl PublicKeyData, CsrError> {
    let algorithm = super::SignatureAlgorithm::default_for(key.kind());
    let algorithm = algorithm.rcgen_algorithm(key.kind()).ok_or(CsrError::Algorithm(key.kind()))?;
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key.pkcs8_der()), algorithm)
        .map_err(CsrError::Sign)
}

fn date(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A CA for tests of other modules.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A certificate for a key and names, PEM.
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
    fn it_is_for_the_key_and_the_names_and_known_by_its_issuer() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        for kind in [KeyKind::Rsa { bits: 2048 }, KeyKind::Ecdsa(Curve::P384), KeyKind::Ed25519] {
            let key = PrivateKey::generate(kind).expect("a key");
            let names = ["web.example.test".to_owned()];
            let addresses = ["192.0.2.1".parse().expect("an address")];
            let pem = temporary(&key, &names, &addresses, now).expect("a certificate");
            let chain = Chain::from_pem(pem.as_bytes()).expect("our own");
            chain.check(&key, &names, &addresses, now).expect("it fits");
            assert_eq!(chain.topmost_issuer(), TEMPORARY_ISSUER);
        }
    }
}
