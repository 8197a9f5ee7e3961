//! Certificate chains from a CA: parsed, sorted, and checked before anything uses them. Must not know trust anchors.
//! Next: `leaf.rs`.

mod leaf;

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use x509_parser::{certificate::X509Certificate, error::X509Error, prelude::FromDer};

pub use self::leaf::LeafCertificate;
use self::leaf::common_name;
use super::{
    KeyError, PrivateKey, limits, pem,
    temporary::{TEMPORARY_ISSUER, TEMPORARY_SERIAL_NUMBER},
};

/// How much the clocks of a CA and the operator may differ.
const MAX_SKEW: SignedDuration = SignedDuration::from_hours(1);

/// A chain of certificates, leaf first, each signed by the next one. The root may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// DER, leaf first; at least one.
    certificates: Vec<Vec<u8>>,
    leaf: LeafCertificate,
    topmost_issuer: String,
}

/// Why a chain is rejected.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The leaf has expired.
    #[error("failed to accept the certificate: it expired at {0}")]
    Expired(Timestamp),
    /// The private key can't be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The leaf belongs to another key.
    #[error(
        "failed to accept the certificate: it does not belong to the private key that signed the request"
    )]
    KeyMismatch,
    /// A certificate can't be parsed.
    #[error("failed to read certificate {position} of the chain: it is not well-formed X.509")]
    Malformed {
        /// The position in the text, starting at 1.
        position: usize,
    },
    /// A requested name is missing in the leaf.
    #[error("failed to accept the certificate: it is not valid for {0:?}, which was requested")]
    MissingName(String),
    /// The text is not PEM.
    #[error("failed to read the certificate chain")]
    Pem(#[source] pem::PemError),
    /// The leaf is not valid yet, and another one is in use.
    #[error("failed to accept the certificate: it is not valid before {0}, and the one in use still works")]
    NotYetValid(Timestamp),
    /// The leaf was issued before the one in use.
    #[error(
        "failed to accept the certificate: it expires at {0}, long before the one in use, though the CA's certificates live as \
         long as before"
    )]
    Older(Timestamp),
    /// Some certificates are not in the chain of the leaf.
    #[error(
        "failed to read the certificate chain: {0} of its certificates are not part of the chain of the leaf"
    )]
    Unrelated(usize),
}

impl Chain {
    /// Parses a chain from PEM, in any order. Text between the blocks is ignored. The leaf is the first certificate
    /// that signed none of the others.
    ///
    /// # Errors
    /// The text is not PEM, too large, or not a single chain.
    pub fn from_pem(text: &[u8]) -> Result<Self, ChainError> {
        let certificates = pem::certificates(text, limits::MAX_CHAIN_PEM_BYTES, limits::MAX_CHAIN_LENGTH)
            .map_err(ChainError::Pem)?;
        let mut parsed = Vec::with_capacity(certificates.len());
        for (index, der) in certificates.iter().enumerate() {
            match X509Certificate::from_der(der) {
                Ok(([], certificate)) => parsed.push(certificate),
                _ => return Err(ChainError::Malformed { position: index + 1 }),
            }
        }
        let order = leaf_first(&parsed)?;
        let leaf = order.first().copied().unwrap_or_default();
        let top = order.last().copied().unwrap_or_default();
        Ok(Self {
            certificates: order.iter().map(|index| certificates[*index].clone()).collect(),
            leaf: LeafCertificate::from_x509(&parsed[leaf]),
            topmost_issuer: common_name(parsed[top].issuer()),
        })
    }

    /// The first certificate of a PEM text, which is the one that servers present, and whether it is a temporary one, of the operator or
    /// of cert-manager. The other certificates are only counted: clients check them.
    ///
    /// # Errors
    /// The text is not PEM or too large, or its first certificate is malformed.
    pub fn presented(text: &[u8]) -> Result<(LeafCertificate, bool), ChainError> {
        let certificates = pem::certificates(text, limits::MAX_CHAIN_PEM_BYTES, limits::MAX_CHAIN_LENGTH)
            .map_err(ChainError::Pem)?;
        let Some(Ok(([], first))) = certificates.first().map(|der| X509Certificate::from_der(der)) else {
            return Err(ChainError::Malformed { position: 1 });
        };
        let leaf = LeafCertificate::from_x509(&first);
        // A CA may have the same name.
        let is_temporary =
            common_name(first.issuer()) == TEMPORARY_ISSUER && leaf.serial_number == TEMPORARY_SERIAL_NUMBER;
        Ok((leaf, is_temporary))
    }

    /// Returns the chain as PEM, leaf first.
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(|der| pem::encode(pem::CERTIFICATE, der).as_str().to_owned()).collect()
    }

    /// The certificates as DER, leaf first.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// The leaf, parsed.
    pub fn leaf(&self) -> &LeafCertificate {
        &self.leaf
    }

    /// The common name of the issuer of the topmost certificate, which `preferredChain` selects.
    pub fn topmost_issuer(&self) -> &str {
        &self.topmost_issuer
    }

    /// Checks that the leaf is what was requested: it belongs to the key, is valid for at least these DNS names and IP
    /// addresses, and has not expired. `not_before` is not checked, because clocks differ.
    ///
    /// # Errors
    /// The first check that fails.
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

/// Checks that a leaf is not worse than the one in use, as long as that works: clients can use it now, and it is not an older one
/// of the same lifetime, as a faulty CA may send again. Shorter lifetimes are the CA's decision.
///
/// # Errors
/// [`ChainError::NotYetValid`] or [`ChainError::Older`].
pub fn check_not_worse(
    leaf: &LeafCertificate,
    in_use: &LeafCertificate,
    now: Timestamp,
) -> Result<(), ChainError> {
    if now < in_use.not_before || in_use.not_after < now {
        return Ok(());
    }
    if leaf.not_before.duration_since(now) > MAX_SKEW {
        return Err(ChainError::NotYetValid(leaf.not_before));
    }
    let lifetime = |leaf: &LeafCertificate| leaf.not_after.duration_since(leaf.not_before);
    // CAs may date certificates back, each in its own way.
    let is_much_earlier = in_use.not_after.duration_since(leaf.not_after) > lifetime(in_use) / 10;
    if is_much_earlier && lifetime(leaf) >= lifetime(in_use) {
        return Err(ChainError::Older(leaf.not_after));
    }
    Ok(())
}

/// Sorts certificates into a chain: returns their indexes, leaf first, each followed by its signer. All must belong to
/// the chain.
fn leaf_first(certificates: &[X509Certificate<'_>]) -> Result<Vec<usize>, ChainError> {
    let signed_by = |child: usize, parent: usize| {
        child != parent && is_signed_by(&certificates[child], &certificates[parent])
    };
    let all = 0..certificates.len();
    // The leaf signed none of the others.
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

/// Whether a certificate is signed by another one. Signatures that can't be checked here, such as ECDSA on P-521, are left to
/// clients: then the names, and the key identifiers if there are any, say so.
fn is_signed_by(child: &X509Certificate<'_>, parent: &X509Certificate<'_>) -> bool {
    if child.issuer() != parent.subject() {
        return false;
    }
    match child.verify_signature(Some(parent.public_key())) {
        Ok(()) => true,
        Err(X509Error::SignatureUnsupportedAlgorithm) => {
            let identifiers = leaf::authority_key_identifier(child).zip(leaf::subject_key_identifier(parent));
            identifiers.is_none_or(|(authority, subject)| authority == subject)
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
