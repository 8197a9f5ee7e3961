//! Certificate chains as a CA hands them out: read, put in order, and checked before anything trusts them.

use std::net::IpAddr;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use jiff::Timestamp;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use super::{KeyError, PrivateKey, csr, limits, pem};

/// A chain of certificates, the leaf first, each signed by the next. The root need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// DER, the leaf first: one at least.
    certificates: Vec<Vec<u8>>,
    leaf: LeafCertificate,
    topmost_issuer: String,
}

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

/// Why a chain is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// It has ended already.
    #[error("failed to accept the certificate: it ended at {0}")]
    Expired(Timestamp),
    /// The key could not be compared.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It is for another key.
    #[error("failed to accept the certificate: it is not for the private key that signed the request")]
    KeyMismatch,
    /// One of the certificates is no certificate.
    #[error("failed to read certificate {position} of the chain: it is no well-formed X.509")]
    Malformed {
        /// From 1, in the order of the text.
        position: usize,
    },
    /// A name that was asked for is not in it.
    #[error("failed to accept the certificate: it is not for {0:?}, which was asked for")]
    MissingName(String),
    /// It is no PEM.
    #[error("failed to read the certificate chain")]
    Pem(#[source] pem::PemError),
    /// Some of the certificates belong to no chain with the leaf.
    #[error(
        "failed to read the certificate chain: {0} of its certificates did not sign one another down to the leaf"
    )]
    Unrelated(usize),
}

impl Chain {
    /// Reads a chain from PEM, in any order; text between the blocks is passed over. The leaf is the first
    /// certificate, unless that signed another one.
    ///
    /// # Errors
    /// It is no PEM, too large, or not one chain.
    pub fn from_pem(text: &[u8]) -> Result<Self, ChainError> {
        let certificates =
            pem::certificates(text, limits::CHAIN_PEM, limits::CHAIN_LENGTH).map_err(ChainError::Pem)?;
        let mut parsed = Vec::with_capacity(certificates.len());
        for (index, der) in certificates.iter().enumerate() {
            match X509Certificate::from_der(der) {
                Ok(([], certificate)) => parsed.push(certificate),
                _ => return Err(ChainError::Malformed { position: index + 1 }),
            }
        }
        let order = order(&parsed)?;
        let leaf = order.first().copied().unwrap_or_default();
        let top = order.last().copied().unwrap_or_default();
        Ok(Self {
            certificates: order.iter().map(|index| certificates[*index].clone()).collect(),
            leaf: LeafCertificate::of(&parsed[leaf]),
            topmost_issuer: common_name(parsed[top].issuer()),
        })
    }

    /// The chain as PEM, the leaf first.
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(|der| pem::encode(pem::CERTIFICATE, der).as_str().to_owned()).collect()
    }

    /// The certificates as DER, the leaf first.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// The leaf.
    pub fn leaf(&self) -> &LeafCertificate {
        &self.leaf
    }

    /// The common name of who issued the topmost certificate: what `preferredChain` is compared with.
    pub fn topmost_issuer(&self) -> &str {
        &self.topmost_issuer
    }

    /// Checks that the chain is what was asked for: for this key, with these DNS names and IP addresses at least, and
    /// not over yet. That it begins a moment from now is no fault: clocks differ.
    ///
    /// # Errors
    /// Which of it does not hold.
    pub fn check(
        &self,
        key: &PrivateKey,
        dns_names: &[String],
        ip_addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<(), ChainError> {
        if self.leaf.public_key_der != key.public_key_der()? {
            return Err(ChainError::KeyMismatch);
        }
        if let Some(missing) = dns_names
            .iter()
            .find(|name| !self.leaf.dns_names.iter().any(|other| other.eq_ignore_ascii_case(name)))
        {
            return Err(ChainError::MissingName(missing.clone()));
        }
        if let Some(missing) = ip_addresses.iter().find(|address| !self.leaf.ip_addresses.contains(address)) {
            return Err(ChainError::MissingName(missing.to_string()));
        }
        if self.leaf.not_after < now {
            return Err(ChainError::Expired(self.leaf.not_after));
        }
        Ok(())
    }
}

/// The order that makes a chain of certificates: each is followed by the one that signed it, and all have a place.
fn order(certificates: &[X509Certificate<'_>]) -> Result<Vec<usize>, ChainError> {
    let signed_by = |child: usize, parent: usize| {
        child != parent
            && certificates[child].issuer() == certificates[parent].subject()
            && certificates[child].verify_signature(Some(certificates[parent].public_key())).is_ok()
    };
    let all = 0..certificates.len();
    // The leaf is what signed none of the others.
    let leaf = all.clone().find(|candidate| !all.clone().any(|other| signed_by(other, *candidate)));
    let mut order = vec![leaf.unwrap_or_default()];
    while let Some(parent) = order
        .last()
        .and_then(|child| all.clone().find(|parent| !order.contains(parent) && signed_by(*child, *parent)))
    {
        order.push(parent);
    }
    match certificates.len() - order.len() {
        0 => Ok(order),
        unrelated => Err(ChainError::Unrelated(unrelated)),
    }
}

impl LeafCertificate {
    fn of(certificate: &X509Certificate<'_>) -> Self {
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

fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    name.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
