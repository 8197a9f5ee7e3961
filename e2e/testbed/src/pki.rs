//! The certificates of the testbed itself: a CA per cluster, and the certificates that it signs. The keys are P-256.
//! Not for the certificates under test, which Pebble issues. Next: `write_files` in `bring_up.rs`.

use std::net::IpAddr;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// A certificate and its private key, both in PEM. The key is in PKCS#8.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// The validity of a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// The start, in whole seconds.
    pub not_before: Timestamp,
    /// The time until `notAfter`.
    pub lifetime: SignedDuration,
}

/// A certificate authority that exists as long as its cluster.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Creates a CA with a new key and a self-signed certificate.
    pub fn new(common_name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// The certificate of the CA, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues a serving certificate for names and addresses, with a new key.
    pub fn server(&self, common_name: &str, names: &[&str], addresses: &[IpAddr]) -> Result<Identity> {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, common_name, None)
    }

    /// Issues a client certificate, with a new key. Kubernetes reads `user` from the CN and `group` from the O.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, user, group)
    }

    /// Issues a certificate for a host and an existing key, like those of public CAs. In PEM.
    pub fn leaf(&self, host: &str, key: &KeyPair, validity: &Validity) -> Result<String> {
        let time = |time: Timestamp| time::OffsetDateTime::from_unix_timestamp(time.as_second());
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = time(validity.not_before)?;
        params.not_after = time(validity.not_before + validity.lifetime)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        common_name: &str,
        group: Option<&str>,
    ) -> Result<Identity> {
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}
