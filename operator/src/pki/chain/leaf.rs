//! What is known of a leaf certificate.

use std::net::IpAddr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jiff::Timestamp;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
};

use crate::pki::csr;

/// What is known of a leaf certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafCertificate {
    /// From when it is valid, UTC, whole seconds.
    pub not_before: Timestamp,
    /// Until when it is valid, this second included, UTC, whole seconds.
    pub not_after: Timestamp,
    /// The content of the serial number's DER, with a zero in front where the first bit is set.
    pub serial_number: Vec<u8>,
    /// The key identifier of the issuer's key, RFC 5280 section 4.2.1.1.
    pub authority_key_identifier: Option<Vec<u8>>,
    /// The subject's first common name, or empty.
    pub common_name: String,
    /// DNS names, in the certificate's order.
    pub dns_names: Vec<String>,
    /// E-mail addresses, in the certificate's order.
    pub email_addresses: Vec<String>,
    /// IP addresses, in the certificate's order.
    pub ip_addresses: Vec<IpAddr>,
    /// URIs, in the certificate's order.
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
            authority_key_identifier: None,
            common_name: common_name(certificate.subject()),
            dns_names: Vec::new(),
            email_addresses: Vec::new(),
            ip_addresses: Vec::new(),
            uris: Vec::new(),
            public_key_der: certificate.public_key().raw.to_vec(),
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                    leaf.authority_key_identifier =
                        identifier.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::SubjectAlternativeName(names) => {
                    names.general_names.iter().for_each(|name| leaf.add(name));
                }
                _ => {}
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

    /// The identifier of the certificate for renewal information, RFC 9773 section 4.1; `None` where it names no key of
    /// its issuer.
    pub fn ari_id(&self) -> Option<String> {
        let issuer = BASE64_URL_SAFE_NO_PAD.encode(self.authority_key_identifier.as_ref()?);
        Some(format!("{issuer}.{}", BASE64_URL_SAFE_NO_PAD.encode(&self.serial_number)))
    }
}

/// A time of X.509, which knows a day more than ours: 9999-12-31 means "never" (RFC 5280 section 4.1.2.5).
fn timestamp(time: x509_parser::time::ASN1Time) -> Timestamp {
    let last = if time.timestamp() < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(time.timestamp()).unwrap_or(last)
}

pub(super) fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    name.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}
