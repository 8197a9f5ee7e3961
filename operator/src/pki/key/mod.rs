//! Private keys: made, read in every form that Go and OpenSSL write, and written in every form that they read.

mod kind;

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    error::KeyRejected,
    rand::SystemRandom,
    rsa,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use der::{Decode, Encode};
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use sec1::{EcParameters, EcPrivateKey};
use zeroize::Zeroizing;

pub use self::kind::{Curve, KeyKind};
use super::{limits, pem};

/// rsaEncryption, RFC 8017 appendix A.1.
const RSA_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey, RFC 5480 section 2.1.1.
const EC_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// id-Ed25519, RFC 8410 section 3.
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How a private key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyEncoding {
    /// The algorithm's own form: PKCS#1 for RSA, SEC 1 for ECDSA. Ed25519 has none, and is written as PKCS#8.
    Traditional,
    /// PKCS#8, RFC 5958, version 1.
    Pkcs8,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// An RSA key of this size can't be made.
    #[error("failed to make an RSA key of {0} bits: 2048, 3072, 4096 and 8192 can be made")]
    Generate(usize),
    /// It is of a kind that nobody signs with.
    #[error(
        "failed to read the private key: it is neither RSA, nor ECDSA on P-256, P-384 or P-521, nor Ed25519"
    )]
    Kind,
    /// It is PEM, but no key.
    #[error("failed to read the private key: its content is no key of the kind that it says it is")]
    Malformed,
    /// It is no PEM.
    #[error("failed to read the private key")]
    Pem(#[source] pem::PemError),
    /// The machine has no randomness, or no memory.
    #[error("failed to make a key or a signature: the crypto library says no more")]
    Unspecified,
    /// It could be guessed.
    #[error("failed to read the private key: an RSA key must have 2048 bits at least, and 8192 at most")]
    Weak,
}

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Unspecified
    }
}

impl From<KeyRejected> for KeyError {
    fn from(error: KeyRejected) -> Self {
        // The library tells its reasons as words only.
        match error.to_string().as_str() {
            "TooSmall" | "TooLarge" => Self::Weak,
            _ => Self::Malformed,
        }
    }
}

/// The numbers of a public key, each as big-endian bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicComponents {
    /// A point on a curve; both coordinates have the curve's full length.
    Ecdsa {
        /// The curve.
        curve: Curve,
        /// The first coordinate.
        x: Vec<u8>,
        /// The second coordinate.
        y: Vec<u8>,
    },
    /// 32 bytes, RFC 8032 section 5.1.5.
    Ed25519 {
        /// The encoded point.
        x: Vec<u8>,
    },
    /// Without zeros in front.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
}

/// A private key. Its bytes are wiped when it goes, and never printed.
pub struct PrivateKey {
    /// PKCS#8 version 1.
    pkcs8: Zeroizing<Vec<u8>>,
    signer: Signer,
}

enum Signer {
    Ecdsa(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<signature::RsaKeyPair>),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, [redacted])", self.kind())
    }
}

impl PrivateKey {
    /// Makes a key. An RSA key takes 50 ms (2048 bits) to seconds (8192): run it where that blocks nobody.
    ///
    /// # Errors
    /// [`KeyError::Generate`] for an RSA size that can't be made.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        match kind {
            KeyKind::Rsa { bits } => {
                let size = match bits {
                    2048 => rsa::KeySize::Rsa2048,
                    3072 => rsa::KeySize::Rsa3072,
                    4096 => rsa::KeySize::Rsa4096,
                    8192 => rsa::KeySize::Rsa8192,
                    _ => return Err(KeyError::Generate(bits)),
                };
                Self::from_rsa(signature::RsaKeyPair::generate(size)?)
            }
            KeyKind::Ecdsa(curve) => Self::from_ecdsa(curve, EcdsaKeyPair::generate(curve.signing())?),
            KeyKind::Ed25519 => Self::from_ed25519(Ed25519KeyPair::generate()?),
        }
    }

    /// Reads the first key of a PEM text: PKCS#1, SEC 1 or PKCS#8, not encrypted.
    ///
    /// # Errors
    /// What is wrong with it; nothing of its content.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let (der, label) = pem::private_key(text, limits::MAX_KEY_PEM_BYTES).map_err(KeyError::Pem)?;
        match label {
            pem::PKCS1 => Self::from_rsa(signature::RsaKeyPair::from_der(&der)?),
            pem::SEC1 => Self::from_sec1(&der),
            _ => Self::from_pkcs8(&der),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| KeyError::Malformed)?;
        match info.algorithm.oid {
            RSA_OID => Self::from_rsa(signature::RsaKeyPair::from_pkcs8(der)?),
            EC_OID => {
                let named = info.algorithm.parameters_oid().map_err(|_| KeyError::Kind)?;
                let curve =
                    Curve::ALL.into_iter().find(|curve| curve.oid() == named).ok_or(KeyError::Kind)?;
                Self::from_ecdsa(curve, EcdsaKeyPair::from_pkcs8(curve.signing(), der)?)
            }
            ED25519_OID => Self::from_ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)?),
            _ => Err(KeyError::Kind),
        }
    }

    fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        let parsed = EcPrivateKey::from_der(der).map_err(|_| KeyError::Malformed)?;
        let named = parsed.parameters.and_then(EcParameters::named_curve).ok_or(KeyError::Kind)?;
        let curve = Curve::ALL.into_iter().find(|curve| curve.oid() == named).ok_or(KeyError::Kind)?;
        Self::from_ecdsa(curve, EcdsaKeyPair::from_private_key_der(curve.signing(), der)?)
    }

    fn from_rsa(pair: signature::RsaKeyPair) -> Result<Self, KeyError> {
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)?;
        let pkcs8 = Zeroizing::new(der.as_ref().to_vec());
        Ok(Self { pkcs8, signer: Signer::Rsa(Box::new(pair)) })
    }

    fn from_ecdsa(curve: Curve, pair: EcdsaKeyPair) -> Result<Self, KeyError> {
        let pkcs8 = Zeroizing::new(pair.to_pkcs8v1()?.as_ref().to_vec());
        Ok(Self { pkcs8, signer: Signer::Ecdsa(curve, pair) })
    }

    fn from_ed25519(pair: Ed25519KeyPair) -> Result<Self, KeyError> {
        let pkcs8 = Zeroizing::new(pair.to_pkcs8v1()?.as_ref().to_vec());
        Ok(Self { pkcs8, signer: Signer::Ed25519(pair) })
    }

    /// What kind it is.
    pub fn kind(&self) -> KeyKind {
        match &self.signer {
            Signer::Ecdsa(curve, _) => KeyKind::Ecdsa(*curve),
            Signer::Ed25519(_) => KeyKind::Ed25519,
            Signer::Rsa(pair) => KeyKind::Rsa { bits: pair.public_modulus_len() * 8 },
        }
    }

    /// The key in DER.
    ///
    /// # Errors
    /// Never for a key that could be read.
    pub fn to_der(&self, encoding: KeyEncoding) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        if encoding == KeyEncoding::Pkcs8 {
            return Ok(self.pkcs8.clone());
        }
        let info = PrivateKeyInfoRef::from_der(&self.pkcs8).map_err(|_| KeyError::Malformed)?;
        match &self.signer {
            Signer::Rsa(_) => Ok(Zeroizing::new(info.private_key.as_bytes().to_vec())),
            Signer::Ed25519(_) => Ok(self.pkcs8.clone()),
            Signer::Ecdsa(curve, pair) => {
                let inner =
                    EcPrivateKey::from_der(info.private_key.as_bytes()).map_err(|_| KeyError::Malformed)?;
                // Inside PKCS#8 the curve stands outside; alone, OpenSSL refuses a key that names none.
                let whole = EcPrivateKey {
                    private_key: inner.private_key,
                    parameters: Some(EcParameters::NamedCurve(curve.oid())),
                    public_key: Some(pair.public_key().as_ref()),
                };
                whole.to_der().map(Zeroizing::new).map_err(|_| KeyError::Malformed)
            }
        }
    }

    /// The key in PEM, one block, as Go writes it.
    ///
    /// # Errors
    /// Never for a key that could be read.
    pub fn to_pem(&self, encoding: KeyEncoding) -> Result<Zeroizing<String>, KeyError> {
        let label = match (&self.signer, encoding) {
            (Signer::Rsa(_), KeyEncoding::Traditional) => pem::PKCS1,
            (Signer::Ecdsa(..), KeyEncoding::Traditional) => pem::SEC1,
            _ => pem::PKCS8,
        };
        Ok(pem::encode(label, &self.to_der(encoding)?))
    }

    /// The public key as `SubjectPublicKeyInfo`, DER, RFC 5280 section 4.1.2.7.
    ///
    /// # Errors
    /// Never for a key that could be read.
    pub fn public_key_der(&self) -> Result<Vec<u8>, KeyError> {
        let bytes = match &self.signer {
            Signer::Ecdsa(_, pair) => {
                AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())?.as_ref().to_vec()
            }
            Signer::Ed25519(pair) => {
                AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())?.as_ref().to_vec()
            }
            Signer::Rsa(pair) => AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key())?.as_ref().to_vec(),
        };
        Ok(bytes)
    }

    /// The numbers of the public key.
    pub fn public_components(&self) -> PublicComponents {
        match &self.signer {
            Signer::Ecdsa(curve, pair) => {
                // SEC 1 section 2.3.3: 4, then both coordinates.
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                PublicComponents::Ecdsa { curve: *curve, x: x.to_vec(), y: y.to_vec() }
            }
            Signer::Ed25519(pair) => PublicComponents::Ed25519 { x: pair.public_key().as_ref().to_vec() },
            Signer::Rsa(pair) => PublicComponents::Rsa {
                n: pair.public_key().modulus().big_endian_without_leading_zero().to_vec(),
                e: pair.public_key().exponent().big_endian_without_leading_zero().to_vec(),
            },
        }
    }

    /// The public key as PKCS#1 (RSA) or as the bare point, DER or bytes: what is hashed to tell two keys apart.
    pub fn public_key_bytes(&self) -> &[u8] {
        match &self.signer {
            Signer::Ecdsa(_, pair) => pair.public_key().as_ref(),
            Signer::Ed25519(pair) => pair.public_key().as_ref(),
            Signer::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// Signs as JWS does (RFC 7518 section 3.1, RFC 8037): RS256, ES256, ES384, ES512 or EdDSA by the kind of key.
    ///
    /// # Errors
    /// The crypto library refuses.
    pub fn sign_jws(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Ecdsa(_, pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Signer::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }

    /// For `csr.rs`, which signs by rcgen.
    pub(super) fn pkcs8_der(&self) -> &[u8] {
        &self.pkcs8
    }
}

#[cfg(test)]
mod tests;
