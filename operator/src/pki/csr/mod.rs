//! Certificate signing requests, RFC 2986, with all that a Certificate can ask for.
//!
//! rcgen signs; the body is our own, because rcgen's subject has one value for each attribute, and ours may have many.

mod read;

use std::net::IpAddr;

use crds::certmanager::{KeyUsage, SignatureAlgorithm as WireAlgorithm};
use der::{
    Any, Decode, Encode, Tag,
    asn1::{BitString, Ia5String, Null, OctetString, SetOfVec},
    flagset::FlagSet,
};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier};
use rcgen::SigningKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use x509_cert::{
    SubjectPublicKeyInfo,
    attr::AttributeTypeAndValue,
    ext::{
        Extension,
        pkix::{
            BasicConstraints, ExtendedKeyUsage, KeyUsage as KeyUsageExtension, KeyUsages, SubjectAltName,
            name::{GeneralName, OtherName as OtherNameDer},
        },
    },
    name::{Name, RdnSequence, RelativeDistinguishedName},
    request::{CertReq, CertReqInfo, ExtensionReq, Version},
};

pub(super) use self::read::ip_address;
pub use self::read::{Csr, ReadCsrError};
use super::{Curve, KeyKind, PrivateKey, pem};

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

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A whole name as RFC 4514 writes it, the last part first.
    Literal(String),
    /// A name from its parts, in the order in which Go writes them: one relative name for each kind of part.
    Parts {
        /// CN, or empty.
        common_name: String,
        /// C.
        countries: Vec<String>,
        /// O.
        organizations: Vec<String>,
        /// OU.
        organizational_units: Vec<String>,
        /// L.
        localities: Vec<String>,
        /// ST.
        provinces: Vec<String>,
        /// STREET.
        street_addresses: Vec<String>,
        /// Postal codes.
        postal_codes: Vec<String>,
        /// The subject's serial number, or empty.
        serial_number: String,
    },
}

impl Default for Subject {
    fn default() -> Self {
        Self::common_name("")
    }
}

impl Subject {
    /// A common name alone, or none if it is empty.
    pub fn common_name(common_name: &str) -> Self {
        Self::Parts {
            common_name: common_name.to_owned(),
            countries: Vec::new(),
            organizations: Vec::new(),
            organizational_units: Vec::new(),
            localities: Vec::new(),
            provinces: Vec::new(),
            street_addresses: Vec::new(),
            postal_codes: Vec::new(),
            serial_number: String::new(),
        }
    }
}

/// A name of a kind that X.509 leaves to others, with a UTF-8 value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherName {
    /// Which kind, as dotted numbers.
    pub oid: String,
    /// The name.
    pub value: String,
}

/// How a CSR is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA over SHA-256.
    EcdsaSha256,
    /// ECDSA over SHA-384.
    EcdsaSha384,
    /// ECDSA over SHA-512.
    EcdsaSha512,
    /// Ed25519.
    Ed25519,
    /// RSA PKCS#1 v1.5 over SHA-256.
    RsaSha256,
    /// RSA PKCS#1 v1.5 over SHA-384.
    RsaSha384,
    /// RSA PKCS#1 v1.5 over SHA-512.
    RsaSha512,
}

impl From<WireAlgorithm> for SignatureAlgorithm {
    fn from(algorithm: WireAlgorithm) -> Self {
        match algorithm {
            WireAlgorithm::ECDSAWithSHA256 => Self::EcdsaSha256,
            WireAlgorithm::ECDSAWithSHA384 => Self::EcdsaSha384,
            WireAlgorithm::ECDSAWithSHA512 => Self::EcdsaSha512,
            WireAlgorithm::PureEd25519 => Self::Ed25519,
            WireAlgorithm::SHA256WithRSA => Self::RsaSha256,
            WireAlgorithm::SHA384WithRSA => Self::RsaSha384,
            WireAlgorithm::SHA512WithRSA => Self::RsaSha512,
        }
    }
}

impl SignatureAlgorithm {
    /// What suits a key, as cert-manager chooses: the longer the key, the longer the hash.
    pub fn suiting(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Ecdsa(Curve::P256) => Self::EcdsaSha256,
            KeyKind::Ecdsa(Curve::P384) => Self::EcdsaSha384,
            KeyKind::Ecdsa(Curve::P521) => Self::EcdsaSha512,
            KeyKind::Ed25519 => Self::Ed25519,
            KeyKind::Rsa { bits: 4096.. } => Self::RsaSha512,
            KeyKind::Rsa { bits: 3072.. } => Self::RsaSha384,
            KeyKind::Rsa { .. } => Self::RsaSha256,
        }
    }

    /// rcgen's name for it with a key; `None` where the two don't go together.
    pub(super) fn with(self, kind: KeyKind) -> Option<&'static rcgen::SignatureAlgorithm> {
        match (self, kind) {
            (Self::EcdsaSha256, KeyKind::Ecdsa(Curve::P256)) => Some(&rcgen::PKCS_ECDSA_P256_SHA256),
            (Self::EcdsaSha384, KeyKind::Ecdsa(Curve::P384)) => Some(&rcgen::PKCS_ECDSA_P384_SHA384),
            (Self::EcdsaSha512, KeyKind::Ecdsa(Curve::P521)) => Some(&rcgen::PKCS_ECDSA_P521_SHA512),
            (Self::Ed25519, KeyKind::Ed25519) => Some(&rcgen::PKCS_ED25519),
            (Self::RsaSha256, KeyKind::Rsa { .. }) => Some(&rcgen::PKCS_RSA_SHA256),
            (Self::RsaSha384, KeyKind::Rsa { .. }) => Some(&rcgen::PKCS_RSA_SHA384),
            (Self::RsaSha512, KeyKind::Rsa { .. }) => Some(&rcgen::PKCS_RSA_SHA512),
            _ => None,
        }
    }

    /// Its identifier, and whether it has the parameters NULL (RFC 4055 section 5) or none (RFC 5758, RFC 8410).
    fn identifier(self) -> (ObjectIdentifier, bool) {
        let (oid, null) = match self {
            Self::EcdsaSha256 => ("1.2.840.10045.4.3.2", false),
            Self::EcdsaSha384 => ("1.2.840.10045.4.3.3", false),
            Self::EcdsaSha512 => ("1.2.840.10045.4.3.4", false),
            Self::Ed25519 => ("1.3.101.112", false),
            Self::RsaSha256 => ("1.2.840.113549.1.1.11", true),
            Self::RsaSha384 => ("1.2.840.113549.1.1.12", true),
            Self::RsaSha512 => ("1.2.840.113549.1.1.13", true),
        };
        (ObjectIdentifier::new_unwrap(oid), null)
    }
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
        let chosen = self.signature_algorithm.unwrap_or_else(|| SignatureAlgorithm::suiting(kind));
        let algorithm = chosen.with(kind).ok_or(CsrError::Algorithm(kind))?;
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

impl Subject {
    /// The attributes as pairs of an object identifier (dotted numbers) and a text, sorted.
    ///
    /// # Errors
    /// The subject can't be written.
    pub fn attributes(&self) -> Result<Vec<(String, String)>, CsrError> {
        let name = self.name()?;
        let mut attributes: Vec<_> = name
            .iter_rdn()
            .flat_map(RelativeDistinguishedName::iter)
            .map(|attribute| {
                let value = String::from_utf8_lossy(attribute.value.value()).into_owned();
                (attribute.oid.to_string(), value)
            })
            .collect();
        attributes.sort();
        Ok(attributes)
    }

    fn name(&self) -> Result<Name, CsrError> {
        match self {
            Self::Literal(text) => text.parse().map_err(|_| CsrError::LiteralSubject(text.clone())),
            Self::Parts {
                common_name,
                countries,
                organizations,
                organizational_units,
                localities,
                provinces,
                street_addresses,
                postal_codes,
                serial_number,
            } => {
                let one = |value: &String| Vec::from_iter((!value.is_empty()).then(|| value.clone()));
                let mut sequence = RdnSequence::default();
                // The order of Go's pkix.Name.
                for (oid, values) in [
                    ("2.5.4.6", countries.clone()),
                    ("2.5.4.10", organizations.clone()),
                    ("2.5.4.11", organizational_units.clone()),
                    ("2.5.4.7", localities.clone()),
                    ("2.5.4.8", provinces.clone()),
                    ("2.5.4.9", street_addresses.clone()),
                    ("2.5.4.17", postal_codes.clone()),
                    ("2.5.4.3", one(common_name)),
                    ("2.5.4.5", one(serial_number)),
                ] {
                    if values.is_empty() {
                        continue;
                    }
                    let mut relative = RelativeDistinguishedName::default();
                    for value in values {
                        let attribute = AttributeTypeAndValue {
                            oid: ObjectIdentifier::new_unwrap(oid),
                            value: text(&value)?,
                        };
                        // The same value twice is once in a set.
                        if !relative.iter().any(|other| *other == attribute) {
                            relative.insert(attribute)?;
                        }
                    }
                    sequence.push(relative);
                }
                Ok(Name::from_der(&sequence.to_der()?)?)
            }
        }
    }
}

/// A text as Go writes it: `PrintableString` where its characters allow that, else `UTF8String`.
fn text(value: &str) -> Result<Any, CsrError> {
    let printable = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte));
    let tag = if printable { Tag::PrintableString } else { Tag::Utf8String };
    Any::new(tag, value.as_bytes()).map_err(|_| CsrError::Name(value.to_owned()))
}

fn extension(oid: &str, critical: bool, value: &impl Encode) -> Result<Extension, CsrError> {
    Ok(Extension {
        extn_id: ObjectIdentifier::new_unwrap(oid),
        critical,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}

/// The key usages of RFC 5280 section 4.2.1.3 among usages.
fn key_usages(usages: &[KeyUsage]) -> FlagSet<KeyUsages> {
    let mut flags = FlagSet::default();
    for usage in usages {
        flags |= match usage {
            KeyUsage::Signing | KeyUsage::DigitalSignature => KeyUsages::DigitalSignature,
            KeyUsage::ContentCommitment => KeyUsages::NonRepudiation,
            KeyUsage::KeyEncipherment => KeyUsages::KeyEncipherment,
            KeyUsage::KeyAgreement => KeyUsages::KeyAgreement,
            KeyUsage::DataEncipherment => KeyUsages::DataEncipherment,
            KeyUsage::CertSign => KeyUsages::KeyCertSign,
            KeyUsage::CrlSign => KeyUsages::CRLSign,
            KeyUsage::EncipherOnly => KeyUsages::EncipherOnly,
            KeyUsage::DecipherOnly => KeyUsages::DecipherOnly,
            _ => continue,
        };
    }
    flags
}

/// The extended key usage of RFC 5280 section 4.2.1.12 that a usage is.
fn extended_key_usage(usage: KeyUsage) -> Option<ObjectIdentifier> {
    let oid = match usage {
        KeyUsage::Any => "2.5.29.37.0",
        KeyUsage::ServerAuth => "1.3.6.1.5.5.7.3.1",
        KeyUsage::ClientAuth => "1.3.6.1.5.5.7.3.2",
        KeyUsage::CodeSigning => "1.3.6.1.5.5.7.3.3",
        KeyUsage::EmailProtection | KeyUsage::SMime => "1.3.6.1.5.5.7.3.4",
        KeyUsage::IpsecEndSystem => "1.3.6.1.5.5.7.3.5",
        KeyUsage::IpsecTunnel => "1.3.6.1.5.5.7.3.6",
        KeyUsage::IpsecUser => "1.3.6.1.5.5.7.3.7",
        KeyUsage::Timestamping => "1.3.6.1.5.5.7.3.8",
        KeyUsage::OcspSigning => "1.3.6.1.5.5.7.3.9",
        KeyUsage::MicrosoftSgc => "1.3.6.1.4.1.311.10.3.3",
        KeyUsage::NetscapeSgc => "2.16.840.1.113730.4.1",
        _ => return None,
    };
    Some(ObjectIdentifier::new_unwrap(oid))
}

#[cfg(test)]
mod tests;
