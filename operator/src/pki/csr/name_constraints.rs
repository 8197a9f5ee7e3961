//! Name constraints of CSRs for CAs, RFC 5280 section 4.2.1.10.

use std::net::IpAddr;

use der::asn1::{Ia5String, OctetString};
use x509_cert::ext::pkix::{
    NameConstraints as Encoded,
    constraints::name::{GeneralSubtree, GeneralSubtrees},
    name::GeneralName,
};

use super::CsrError;

/// Which names a CA may issue certificates for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameConstraints {
    /// Whether software that does not support the extension must reject the certificate.
    pub critical: bool,
    /// Only these names; all if it is empty.
    pub permitted: Vec<Subtree>,
    /// None of these names.
    pub excluded: Vec<Subtree>,
}

/// Names that have something in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subtree {
    /// A DNS domain, and all names below it.
    Dns(String),
    /// An address range: the lowest address and the mask, which are of the same length.
    Ip(IpAddr, IpAddr),
    /// An email address, or all addresses of a domain.
    Email(String),
    /// The host in URIs.
    Uri(String),
}

impl NameConstraints {
    /// Whether there is nothing to encode.
    pub(super) fn is_empty(&self) -> bool {
        self.permitted.is_empty() && self.excluded.is_empty()
    }

    pub(super) fn encoded(&self) -> Result<Encoded, CsrError> {
        let subtrees = |all: &[Subtree]| -> Result<Option<GeneralSubtrees>, CsrError> {
            let encoded: GeneralSubtrees = all.iter().map(Subtree::encoded).collect::<Result<_, _>>()?;
            Ok(Some(encoded).filter(|encoded| !encoded.is_empty()))
        };
        Ok(Encoded {
            permitted_subtrees: subtrees(&self.permitted)?,
            excluded_subtrees: subtrees(&self.excluded)?,
        })
    }
}

impl Subtree {
    fn encoded(&self) -> Result<GeneralSubtree, CsrError> {
        let ascii = |name: &String| Ia5String::new(name).map_err(|_| CsrError::Name(name.clone()));
        let base = match self {
            Self::Dns(name) => GeneralName::DnsName(ascii(name)?),
            Self::Email(name) => GeneralName::Rfc822Name(ascii(name)?),
            Self::Uri(name) => GeneralName::UniformResourceIdentifier(ascii(name)?),
            Self::Ip(address, mask) => {
                GeneralName::IpAddress(OctetString::new([octets(*address), octets(*mask)].concat())?)
            }
        };
        Ok(GeneralSubtree { base, minimum: 0, maximum: None })
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
