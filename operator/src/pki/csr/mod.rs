//! Certificate signing requests, RFC 2986, with all that a Certificate can ask for.
//!
//! rcgen signs; the body is our own, because rcgen's subject has one value for each attribute, and ours may have many.

mod algorithm;
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
            BasicConstraints, ExtendedKeyUsage, KeyUsage as KeyUsageExtension, SubjectAltName,
            name::{GeneralName, OtherName as OtherNameDer},
        },
    },
    request::{CertReq, CertReqInfo, ExtensionReq, Version},
};

pub(super) use self::read::ip_address;
use self::usages::{extended_key_usage, key_usages};
pub use self::{
    algorithm::SignatureAlgorithm,
    read::{Csr, ReadCsrError},
    subject::Subject,
};
use super::{KeyKind, PrivateKey, pem};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsrRequest {
    /// Who.
    pub subject: Subject,
    /// DNS names, as the CA shall see them.
    pub dns_names: Vec<String>,
    /// E-mail addresses.
    pub email_addresses: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// URIs.
    pub uris: Vec<String>,
    /// Names of other kinds.
    pub other_names: Vec<OtherName>,
    /// What for; none leaves the extensions out.
    pub usages: Vec<KeyUsage>,
    /// Whether to ask for a CA.
    pub is_ca: bool,
    /// How to sign; what suits the key if `None`.
    pub signature_algorithm: Option<SignatureAlgorithm>,
}

/// A name of a kind that X.509 leaves to others, with a UTF-8 value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherName {
    /// Which kind, as dotted numbers.
    pub oid: String,
    /// The name.
    pub value: String,
}

/// Why there is no CSR.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Key and algorithm don't go together.
    #[error("failed to make a CSR: a key of kind {0} can't be signed with as asked for")]
    Algorithm(KeyKind),
    /// A name can't stand in a certificate.
    #[error("failed to make a CSR: {0:?} can't stand in a certificate")]
    Name(String),
    /// The literal subject is not what RFC 4514 says.
    #[error("failed to make a CSR: the literal subject {0:?} is not of the form that RFC 4514 has")]
    LiteralSubject(String),
    /// The names are too many or too long for DER.
    #[error("failed to make a CSR: it is too large")]
    Encode(#[source] der::Error),
    /// The crypto library refuses.
    #[error("failed to sign a CSR")]
    Sign(#[source] rcgen::Error),
    /// The key can't be used.
    #[error(transparent)]
    Key(#[from] super::KeyError),
}

impl From<der::Error> for CsrError {
    fn from(error: der::Error) -> Self {
        Self::Encode(error)
    }
}

impl CsrRequest {
    /// Makes the CSR, DER.
    ///
    /// # Errors
    /// What was asked for can't be written or signed; the message says what.
    pub fn sign(&self, key: &PrivateKey) -> Result<Vec<u8>, CsrError> {
        let kind = key.kind();
        let chosen = self.signature_algorithm.unwrap_or_else(|| SignatureAlgorithm::default_for(kind));
        let algorithm = chosen.rcgen_algorithm(kind).ok_or(CsrError::Algorithm(kind))?;
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
        let signer = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(key.pkcs8_der()),
            algorithm,
        )
        .map_err(CsrError::Sign)?;
        let signature = signer.sign(&info.to_der()?).map_err(CsrError::Sign)?;
        let (oid, null) = chosen.identifier();
        let parameters = if null { Some(Null.into()) } else { None };
        let request = CertReq {
            info,
            algorithm: AlgorithmIdentifierRef { oid, parameters }.into(),
            signature: BitString::from_bytes(&signature)?,
        };
        Ok(request.to_der()?)
    }

    /// Makes the CSR, PEM.
    ///
    /// # Errors
    /// As [`CsrRequest::sign`].
    pub fn sign_pem(&self, key: &PrivateKey) -> Result<String, CsrError> {
        Ok(pem::encode(pem::CERTIFICATE_REQUEST, &self.sign(key)?).as_str().to_owned())
    }

    fn extensions(&self, no_subject: bool) -> Result<Vec<Extension>, CsrError> {
        let mut extensions = Vec::new();
        let names = self.names()?;
        if !names.is_empty() {
            // Critical where there is no subject, RFC 5280 section 4.2.1.6.
            extensions.push(extension("2.5.29.17", no_subject, &SubjectAltName(names))?);
        }
        let flags = key_usages(&self.usages);
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
