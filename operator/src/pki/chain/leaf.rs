//! The parsed leaf of a chain.

use std::net::IpAddr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jiff::Timestamp;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

use crate::pki::csr;

/// The fields of a leaf certificate that the operator uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafCertificate {
    /// The start of the validity, UTC, whole seconds.
    pub not_before: Timestamp,
    /// The last second of the validity, UTC.
    pub not_after: Timestamp,
    /// The content bytes of the serial number in DER, with a leading zero if the first bit is set.
    pub serial_number: Vec<u8>,
    /// The identifier of the issuer's key, RFC 5280 section 4.2.1.1.
    pub authority_key_identifier: Option<Vec<u8>>,
    /// The first common name of the subject; may be empty.
    pub common_name: String,
    /// DNS names, in the order of the certificate.
    pub dns_names: Vec<String>,
    /// Email addresses, in the order of the certificate.
    pub email_addresses: Vec<String>,
    /// IP addresses, in the order of the certificate.
    pub ip_addresses: Vec<IpAddr>,
    /// URIs, in the order of the certificate.
    pub uris: Vec<String>,
    /// `SubjectPublicKeyInfo`, DER.
    pub public_key_der: Vec<u8>,
}

impl LeafCertificate {
    pub(super) fn from_x509(certificate: &X509Certificate<'_>) -> Self {
        let mut leaf = Self {
            not_before: timestamp(certificate.validity().not_before),
            not_after: timestamp(certificate.validity().not_after),
            serial_number: certificate.raw_serial().to_vec(),
            authority_key_identifier: authority_key_identifier(certificate).map(ToOwned::to_owned),
            common_name: common_name(certificate.subject()),
            dns_names: Vec::new(),
            email_addresses: Vec::new(),
            ip_addresses: Vec::new(),
            uris: Vec::new(),
            public_key_der: certificate.public_key().raw.to_vec(),
        };
        for extension in certificate.extensions() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() {
                names.general_names.iter().for_each(|name| leaf.add(name));
            }
        }
        leaf
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.email_addresses.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => self.ip_addresses.extend(csr::ip_address(bytes)),
            _ => {}
        }
    }

    /// Returns the identifier of the certificate for renewal information, RFC 9773 section 4.1. `None` if the
    /// certificate has no authority key identifier.
    pub fn ari_id(&self) -> Option<String> {
        let issuer = BASE64_URL_SAFE_NO_PAD.encode(self.authority_key_identifier.as_ref()?);
        Some(format!("{issuer}.{}", BASE64_URL_SAFE_NO_PAD.encode(&self.serial_number)))
    }
}

/// The identifier of the key that signed a certificate, RFC 5280 section 4.2.1.1.
pub(super) fn authority_key_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => Some(identifier.key_identifier.as_ref()?.0),
        _ => None,
    })
}

/// The identifier of the key of a certificate, RFC 5280 section 4.2.1.2.
pub(super) fn subject_key_identifier<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0),
        _ => None,
    })
}

/// Converts a time of X.509, whose range is larger: 9999-12-31 means "no expiry" (RFC 5280 section 4.1.2.5) and becomes
/// the maximum.
fn timestamp(time: x509_parser::time::ASN1Time) -> Timestamp {
    let limit = if time.timestamp() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(time.timestamp()).unwrap_or(limit)
}

pub(super) fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    name.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}
