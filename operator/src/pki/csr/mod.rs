//! Certificate signing requests (RFC 2986) with everything that a Certificate can request.
//!
//! rcgen only signs. The body is built here, because a subject of rcgen has a single value per attribute, and a
//! Certificate may have several. Must not know Kubernetes objects, except for the enums of `crds`. Next: `subject.rs`,
//! `read.rs`.

mod algorithm;
mod name_constraints;
mod read;
mod subject;
mod usages;

use std::net::IpAddr;

use crds::certmanager::KeyUsage;
use der::{
    Any, Decode, Encode, Tag,
    asn1::{BitString, Ia5String, Null, OctetString, SetOfVec},
};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier};
use rcgen::SigningKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use x509_cert::{
    SubjectPublicKeyInfo,
    ext::{
        Extension,
        pkix::{
            BasicConstraints, ExtendedKeyUsage, KeyUsage as KeyUsageExtension, KeyUsages, SubjectAltName,
            name::{GeneralName, OtherName as OtherNameDer},
        },
    },
    request::{CertReq, CertReqInfo, ExtensionReq, Version},
};

pub(super) use self::read::ip_address;
use self::usages::{extended_key_usage, key_usages};
pub use self::{
    algorithm::SignatureAlgorithm,
    name_constraints::{NameConstraints, Subtree},
    read::{Csr, ReadCsrError},
    subject::Subject,
};
use super::{KeyEncoding, KeyKind, PrivateKey, limits::MAX_CSR_PEM_BYTES, pem};

/// The content of a CSR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsrRequest {
    /// The subject, which may be empty.
    pub subject: Subject,
    /// DNS names, in the ASCII form that the CA gets.
    pub dns_names: Vec<String>,
    /// Email addresses.
    pub email_addresses: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// URIs.
    pub uris: Vec<String>,
    /// Names of types that RFC 5280 does not define.
    pub other_names: Vec<OtherName>,
    /// Key usages and extended key usages. If empty, the CSR has no such extensions.
    pub usages: Vec<KeyUsage>,
    /// Whether a CA certificate is requested.
    pub is_ca: bool,
    /// Which names that CA may issue certificates for.
    pub name_constraints: NameConstraints,
    /// The signature algorithm; the default for the key if `None`.
    pub signature_algorithm: Option<SignatureAlgorithm>,
}

/// An `otherName` with a UTF-8 value, RFC 5280 section 4.2.1.6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherName {
    /// The object identifier of the type, as dotted numbers.
    pub oid: String,
    /// The value of the name.
    pub value: String,
}

/// Why a CSR can't be created.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// The key can't sign with the requested algorithm.
    #[error("failed to create the CSR: the requested signature algorithm does not fit the {0} key")]
    Algorithm(KeyKind),
    /// A name can't be encoded.
    #[error("failed to create the CSR: {0:?} is not allowed in a certificate")]
    Name(String),
    /// The literal subject is not valid.
    #[error("failed to create the CSR: the literal subject {0:?} is not an RFC 4514 name")]
    LiteralSubject(String),
    /// There are too many names for DER, or one is too long.
    #[error("failed to create the CSR: it is too large")]
    Encode(#[source] der::Error),
    /// The crypto library failed.
    #[error("failed to sign the CSR")]
    Sign(#[source] rcgen::Error),
    /// The private key can't be used.
    #[error(transparent)]
    Key(#[from] super::KeyError),
}

impl From<der::Error> for CsrError {
    fn from(error: der::Error) -> Self {
        Self::Encode(error)
    }
}

impl CsrRequest {
    /// Creates and signs the CSR, DER.
    ///
    /// # Errors
    /// The content can't be encoded or signed; the message names the cause.
    pub fn sign(&self, key: &PrivateKey) -> Result<Vec<u8>, CsrError> {
        let kind = key.kind();
        let signature_algorithm =
            self.signature_algorithm.unwrap_or_else(|| SignatureAlgorithm::default_for(kind));
        let rcgen_algorithm = signature_algorithm.rcgen_algorithm(kind).ok_or(CsrError::Algorithm(kind))?;
        let public_key = key.public_key_der()?;
        let subject = self.subject.name()?;
        let mut attributes = SetOfVec::new();
        let extensions = self.extensions(subject.is_empty())?;
        if !extensions.is_empty() {
            attributes.insert(ExtensionReq(extensions).try_into()?)?;
        }
        let info = CertReqInfo {
            version: Version::V1,
            subject,
            public_key: SubjectPublicKeyInfo::from_der(&public_key)?,
            attributes,
        };
        let pkcs8 = key.to_der(KeyEncoding::Pkcs8)?;
        let signer = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(pkcs8.as_slice()),
            rcgen_algorithm,
        )
        .map_err(CsrError::Sign)?;
        let signature = signer.sign(&info.to_der()?).map_err(CsrError::Sign)?;
        let (oid, null) = signature_algorithm.identifier();
        let parameters = if null { Some(Null.into()) } else { None };
        let request = CertReq {
            info,
            algorithm: AlgorithmIdentifierRef { oid, parameters }.into(),
            signature: BitString::from_bytes(&signature)?,
        };
        Ok(request.to_der()?)
    }

    /// The size that the CSR has in PEM with a key of this kind, bytes: not less than the actual one, and up to 500 more. If the names
    /// alone are longer than [`MAX_CSR_PEM_BYTES`], it is their length: then nothing is encoded.
    ///
    /// # Errors
    /// The content can't be encoded; the message names the cause.
    pub fn pem_bytes(&self, key: KeyKind) -> Result<usize, CsrError> {
        let texts = [&self.dns_names, &self.email_addresses, &self.uris];
        let text = texts.into_iter().flatten().map(String::len).sum();
        if text > MAX_CSR_PEM_BYTES {
            return Ok(text);
        }
        let subject = self.subject.name()?;
        let content = subject.encoded_len()? + self.extensions(subject.is_empty())?.encoded_len()?;
        // The modulus is in the public key, and the signature is as long.
        let key_bytes = if let KeyKind::Rsa { bits } = key { bits / 4 } else { 300 };
        let der = usize::try_from(u32::from(content?)).unwrap_or(usize::MAX).saturating_add(key_bytes + 150);
        // Four characters for three bytes, and a line break after 64.
        Ok((der / 3 + 1).saturating_mul(4) / 64 * 65 + 130)
    }

    /// Creates and signs the CSR, PEM.
    ///
    /// # Errors
    /// See [`CsrRequest::sign`].
    pub fn sign_pem(&self, key: &PrivateKey) -> Result<String, CsrError> {
        Ok(pem::encode(pem::CERTIFICATE_REQUEST, &self.sign(key)?).as_str().to_owned())
    }

    fn extensions(&self, subject_is_empty: bool) -> Result<Vec<Extension>, CsrError> {
        let mut extensions = Vec::new();
        let names = self.names()?;
        if !names.is_empty() {
            // Critical if the subject is empty, RFC 5280 section 4.2.1.6.
            extensions.push(extension("2.5.29.17", subject_is_empty, &SubjectAltName(names))?);
        }
        let mut flags = key_usages(&self.usages);
        if self.is_ca && !self.usages.is_empty() {
            flags |= KeyUsages::KeyCertSign;
        }
        if !flags.is_empty() {
            extensions.push(extension("2.5.29.15", true, &KeyUsageExtension(flags))?);
        }
        let extended: Vec<_> = self.usages.iter().filter_map(|usage| extended_key_usage(*usage)).collect();
        if !extended.is_empty() {
            extensions.push(extension("2.5.29.37", false, &ExtendedKeyUsage(extended))?);
        }
        if self.is_ca {
            let constraints = BasicConstraints { ca: true, path_len_constraint: None };
            extensions.push(extension("2.5.29.19", true, &constraints)?);
        }
        if !self.name_constraints.is_empty() {
            let critical = self.name_constraints.critical;
            extensions.push(extension("2.5.29.30", critical, &self.name_constraints.encoded()?)?);
        }
        Ok(extensions)
    }

    fn names(&self) -> Result<Vec<GeneralName>, CsrError> {
        let ascii = |name: &String| Ia5String::new(name).map_err(|_| CsrError::Name(name.clone()));
        let mut names = Vec::new();
        for name in &self.dns_names {
            names.push(GeneralName::DnsName(ascii(name)?));
        }
        for name in &self.email_addresses {
            names.push(GeneralName::Rfc822Name(ascii(name)?));
        }
        names.extend(self.ip_addresses.iter().map(|address| GeneralName::from(*address)));
        for name in &self.uris {
            names.push(GeneralName::UniformResourceIdentifier(ascii(name)?));
        }
        for name in &self.other_names {
            let type_id = ObjectIdentifier::new(&name.oid).map_err(|_| CsrError::Name(name.oid.clone()))?;
            let value = Any::new(Tag::Utf8String, name.value.as_bytes())?;
            names.push(GeneralName::OtherName(OtherNameDer { type_id, value }));
        }
        Ok(names)
    }
}

fn extension(oid: &str, critical: bool, value: &impl Encode) -> Result<Extension, CsrError> {
    Ok(Extension {
        extn_id: ObjectIdentifier::new_unwrap(oid),
        critical,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}

#[cfg(test)]
mod tests;
