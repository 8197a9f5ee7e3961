//! Parsing of CSRs, from users and from earlier attempts. Must not judge what they request. Next: `mod.rs` for creating
//! them.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use crds::certmanager::KeyUsage;
use der::Decode;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage as KeyUsageExtension, KeyUsages};
use x509_parser::{
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    error::X509Error,
    extensions::{GeneralName, ParsedExtension, X509Extension},
    prelude::FromDer,
};

use super::usages::{extended_key_usage, key_usages};
use crate::pki::{limits, pem};

/// A parsed CSR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    /// The whole CSR, DER.
    pub der: Vec<u8>,
    /// The first common name of the subject; may be empty.
    pub common_name: String,
    /// The attributes of the subject as sorted pairs of object identifier (dotted numbers) and text.
    pub subject: Vec<(String, String)>,
    /// DNS names, in the order of the CSR.
    pub dns_names: Vec<String>,
    /// Email addresses, in the order of the CSR.
    pub email_addresses: Vec<String>,
    /// IP addresses, in the order of the CSR.
    pub ip_addresses: Vec<IpAddr>,
    /// URIs, in the order of the CSR.
    pub uris: Vec<String>,
    /// `SubjectPublicKeyInfo`, DER.
    pub public_key_der: Vec<u8>,
    key_usages: Option<KeyUsageExtension>,
    extended_key_usages: Option<ExtendedKeyUsage>,
    is_ca: Option<bool>,
}

/// Why a CSR can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadCsrError {
    /// The PEM block does not contain a CSR.
    #[error("failed to read the CSR: its content is malformed")]
    Malformed,
    /// An extension occurs twice, RFC 5280 section 4.2: programs differ in which one they believe.
    #[error("failed to read the CSR: it contains an extension twice")]
    Repeated,
    /// The text is not PEM.
    #[error("failed to read the CSR: {0}")]
    Pem(pem::PemError),
    /// The signature was not made with the key in the CSR.
    #[error("failed to read the CSR: it is not signed by the key in it")]
    Signature,
}

impl Csr {
    /// Parses a PEM text with one CSR. Its signature is not checked: see [`Self::verify`].
    ///
    /// ```
    /// use operator::pki::{Csr, CsrRequest, Curve, KeyKind, PrivateKey, Subject};
    ///
    /// let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256))?;
    /// let request = CsrRequest { dns_names: vec!["web.example.test".into()], ..CsrRequest::default() };
    /// let csr = Csr::from_pem(request.sign_pem(&key)?.as_bytes())?;
    /// assert_eq!(csr.dns_names, request.dns_names);
    /// assert_eq!(csr.public_key_der, key.public_key_der()?);
    /// csr.verify()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The text is not PEM, too large, or not one CSR.
    pub fn from_pem(text: &[u8]) -> Result<Self, ReadCsrError> {
        let der = pem::certificate_request(text, limits::MAX_CSR_PEM_BYTES).map_err(ReadCsrError::Pem)?;
        let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
            return Err(ReadCsrError::Malformed);
        };
        let info = &request.certification_request_info;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            String::from_utf8_lossy(value.attr_value().data).into_owned()
        };
        let mut subject: Vec<_> = info
            .subject
            .iter_attributes()
            .map(|attribute| (attribute.attr_type().to_id_string(), text(attribute)))
            .collect();
        subject.sort();
        let common_name = info.subject.iter_common_name().next().map(text).unwrap_or_default();
        let mut csr = Self {
            common_name,
            subject,
            dns_names: Vec::new(),
            email_addresses: Vec::new(),
            ip_addresses: Vec::new(),
            uris: Vec::new(),
            public_key_der: info.subject_pki.raw.to_vec(),
            key_usages: None,
            extended_key_usages: None,
            is_ca: None,
            der: Vec::new(),
        };
        let mut seen = HashSet::new();
        let requested = info.iter_attributes().filter_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(requested) => Some(&requested.extensions),
            _ => None,
        });
        for extension in requested.flatten() {
            if !seen.insert(extension.oid.clone()) {
                return Err(ReadCsrError::Repeated);
            }
            csr.read(extension)?;
        }
        Ok(Self { der, ..csr })
    }

    fn read(&mut self, extension: &X509Extension<'_>) -> Result<(), ReadCsrError> {
        let malformed = |_| ReadCsrError::Malformed;
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().for_each(|name| self.add(name));
            }
            ParsedExtension::KeyUsage(_) => {
                self.key_usages = Some(KeyUsageExtension::from_der(extension.value).map_err(malformed)?);
            }
            ParsedExtension::ExtendedKeyUsage(_) => {
                let usages = ExtendedKeyUsage::from_der(extension.value).map_err(malformed)?;
                self.extended_key_usages = Some(usages);
            }
            ParsedExtension::BasicConstraints(_) => {
                let constraints = BasicConstraints::from_der(extension.value).map_err(malformed)?;
                self.is_ca = Some(constraints.ca);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the CSR asks for exactly these usages, or leaves them to the issuer. A CSR for a CA may ask for `cert sign` as well.
    pub fn allows_usages(&self, usages: &[KeyUsage]) -> bool {
        if self.key_usages.is_none() && self.extended_key_usages.is_none() {
            return true;
        }
        let mut requested = self.key_usages.map(|usages| usages.0).unwrap_or_default();
        let mut expected = key_usages(usages);
        if self.is_ca == Some(true) {
            requested |= KeyUsages::KeyCertSign;
            expected |= KeyUsages::KeyCertSign;
        }
        let extended = self.extended_key_usages.iter().flat_map(|usages| usages.0.iter().copied());
        let expected_extended = usages.iter().filter_map(|usage| extended_key_usage(*usage));
        requested == expected
            && extended.collect::<BTreeSet<_>>() == expected_extended.collect::<BTreeSet<_>>()
    }

    /// Whether the CSR says that it asks for a CA certificate, or for one that is not; `None` if it says neither.
    pub fn is_ca(&self) -> Option<bool> {
        self.is_ca
    }

    /// Checks that the CSR is signed by the key it contains, which proves that the requester has that key (RFC 2986
    /// section 3).
    ///
    /// # Errors
    /// [`ReadCsrError::Signature`] if it is not.
    pub fn verify(&self) -> Result<(), ReadCsrError> {
        let (_, request) =
            X509CertificationRequest::from_der(&self.der).map_err(|_| ReadCsrError::Malformed)?;
        match request.verify_signature() {
            // Algorithms that can't be checked here (ECDSA on P-521) are left to the CA.
            Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => Ok(()),
            Err(_) => Err(ReadCsrError::Signature),
        }
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.email_addresses.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => self.ip_addresses.extend(ip_address(bytes)),
            _ => {}
        }
    }
}

/// Parses an `iPAddress` of RFC 5280 section 4.2.1.6: 4 or 16 bytes.
pub(in crate::pki) fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
