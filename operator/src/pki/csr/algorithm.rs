//! Signature algorithms of CSRs.

use crds::certmanager::SignatureAlgorithm as WireAlgorithm;
use pkcs8::ObjectIdentifier;

use crate::pki::{Curve, KeyKind};

/// The algorithm that signs a CSR.
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
    /// Returns the default for a key, as in cert-manager: the longer the key, the longer the hash.
    pub fn default_for(kind: KeyKind) -> Self {
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

    /// Whether it is for keys of this family. Not all of these pairs can be signed with.
    pub const fn fits(self, kind: KeyKind) -> bool {
        matches!(
            (self, kind),
            (Self::EcdsaSha256 | Self::EcdsaSha384 | Self::EcdsaSha512, KeyKind::Ecdsa(_))
                | (Self::Ed25519, KeyKind::Ed25519)
                | (Self::RsaSha256 | Self::RsaSha384 | Self::RsaSha512, KeyKind::Rsa { .. })
        )
    }

    /// Returns the algorithm of rcgen for this kind of key. `None` if the key can't sign with it.
    pub(in crate::pki) fn rcgen_algorithm(self, kind: KeyKind) -> Option<&'static rcgen::SignatureAlgorithm> {
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

    /// Returns the object identifier, and whether its parameters are NULL (RFC 4055 section 5) or absent (RFC 5758, RFC
    /// 8410).
    pub(super) fn identifier(self) -> (ObjectIdentifier, bool) {
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
