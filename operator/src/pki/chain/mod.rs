//! Certificate chains as a CA hands them out: read, put in order, and checked before anything trusts them.

mod leaf;

use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

pub use self::leaf::LeafCertificate;
use self::leaf::common_name;
use super::{KeyError, PrivateKey, limits, pem};

/// A chain of certificates, the leaf first, each signed by the next. The root need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// DER, the leaf first: one at least.
    certificates: Vec<Vec<u8>>,
    leaf: LeafCertificate,
    topmost_issuer: String,
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
fn leaf_first(certificates: &[X509Certificate<'_>]) -> Result<Vec<usize>, ChainError> {
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

#[cfg(test)]
mod tests;
