//! Private keys: generated, parsed from and encoded in the formats of Go and OpenSSL. Must not know files or Secrets.
//! Next: `kind.rs`.

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
use super::{
    limits::{self, MAX_ACCOUNT_KEY_BITS},
    pem,
};

/// rsaEncryption, RFC 8017 appendix A.1.
const RSA_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey, RFC 5480 section 2.1.1.
const EC_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// id-Ed25519, RFC 8410 section 3.
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The encoding of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyEncoding {
    /// PKCS#1 for RSA and SEC 1 for ECDSA. Ed25519 has no traditional encoding and uses PKCS#8.
    Traditional,
    /// PKCS#8, RFC 5958, version 1.
    Pkcs8,
}

/// Why a private key can't be generated, parsed, or used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// RSA keys of this size can't be generated.
    #[error("failed to generate an RSA key of {0} bits: the supported sizes are 2048, 3072, 4096, and 8192")]
    Generate(usize),
    /// The algorithm or curve is not supported.
    #[error(
        "failed to read the private key: it is not an RSA, ECDSA (P-256, P-384, or P-521), or Ed25519 key"
    )]
    Kind,
    /// An RSA key of this many bits can't be the key of an account.
    #[error(
        "failed to use the private key: RSA keys of ACME accounts must have at most {MAX_ACCOUNT_KEY_BITS} bits, not {0}"
    )]
    LongForAccount(usize),
    /// The PEM block does not contain a key of the type in its label.
    #[error("failed to read the private key: its content is not a key of the declared type")]
    Malformed,
    /// The text is not PEM.
    #[error("failed to read the private key")]
    Pem(#[source] pem::PemError),
    /// The system is out of randomness or memory.
    #[error("failed to generate a key or a signature: the crypto library gives no details")]
    Unspecified,
    /// The RSA key is too short to be secure, or too long to be supported.
    #[error("failed to read the private key: RSA keys must have at least 2048 and at most 8192 bits")]
    Weak,
}

impl From<aws_lc_rs::error::Unspecified> for KeyError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Unspecified
    }
}

impl From<KeyRejected> for KeyError {
    fn from(error: KeyRejected) -> Self {
        // The library reports the reason only as text.
        match error.to_string().as_str() {
            "TooSmall" | "TooLarge" => Self::Weak,
            _ => Self::Malformed,
        }
    }
}

/// The components of a public key, as big-endian bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicComponents {
    /// A point on a curve. Both coordinates have the full length of the curve.
    Ecdsa {
        /// The curve.
        curve: Curve,
        /// The x coordinate.
        x: Vec<u8>,
        /// The y coordinate.
        y: Vec<u8>,
    },
    /// 32 bytes, RFC 8032 section 5.1.5.
    Ed25519 {
        /// The encoded point.
        x: Vec<u8>,
    },
    /// Numbers without leading zeros.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
}

/// A private key. Its bytes are wiped on drop and never printed.
pub struct PrivateKey(Signer);

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
    /// Generates a key. RSA takes from 50 ms (2048 bits) to seconds (8192 bits) of CPU time: call it on a blocking
    /// thread.
    ///
    /// # Errors
    /// [`KeyError::Generate`] for an unsupported RSA size.
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
                Ok(Self(Signer::Rsa(Box::new(signature::RsaKeyPair::generate(size)?))))
            }
            KeyKind::Ecdsa(curve) => Ok(Self(Signer::Ecdsa(curve, EcdsaKeyPair::generate(curve.signing())?))),
            KeyKind::Ed25519 => Ok(Self(Signer::Ed25519(Ed25519KeyPair::generate()?))),
        }
    }

    /// Parses the first key of a PEM text: PKCS#1, SEC 1, or PKCS#8, unencrypted.
    ///
    /// # Errors
    /// What is wrong with the key. The message never contains parts of it.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let (der, label) = pem::private_key(text, limits::MAX_KEY_PEM_BYTES).map_err(KeyError::Pem)?;
        match label {
            pem::PKCS1 => Ok(Self(Signer::Rsa(Box::new(signature::RsaKeyPair::from_der(&der)?)))),
            pem::SEC1 => Self::from_sec1(&der),
            _ => Self::from_pkcs8(&der),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| KeyError::Malformed)?;
        match info.algorithm.oid {
            RSA_OID => Ok(Self(Signer::Rsa(Box::new(signature::RsaKeyPair::from_pkcs8(der)?)))),
            EC_OID => {
                let named = info.algorithm.parameters_oid().map_err(|_| KeyError::Kind)?;
                let curve =
                    Curve::ALL.into_iter().find(|curve| curve.oid() == named).ok_or(KeyError::Kind)?;
                Ok(Self(Signer::Ecdsa(curve, EcdsaKeyPair::from_pkcs8(curve.signing(), der)?)))
            }
            ED25519_OID => Ok(Self(Signer::Ed25519(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)?))),
            _ => Err(KeyError::Kind),
        }
    }

    fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        let parsed = EcPrivateKey::from_der(der).map_err(|_| KeyError::Malformed)?;
        let named = parsed.parameters.and_then(EcParameters::named_curve).ok_or(KeyError::Kind)?;
        let curve = Curve::ALL.into_iter().find(|curve| curve.oid() == named).ok_or(KeyError::Kind)?;
        Ok(Self(Signer::Ecdsa(curve, EcdsaKeyPair::from_private_key_der(curve.signing(), der)?)))
    }

    /// The key, if it may be that of an ACME account.
    ///
    /// # Errors
    /// [`KeyError::LongForAccount`]
    pub fn for_account(self) -> Result<Self, KeyError> {
        match self.kind() {
            KeyKind::Rsa { bits } if bits > MAX_ACCOUNT_KEY_BITS => Err(KeyError::LongForAccount(bits)),
            _ => Ok(self),
        }
    }

    /// Whether a signature takes so long that it must not be made by a thread that serves other objects.
    pub fn is_slow(&self) -> bool {
        matches!(self.kind(), KeyKind::Rsa { bits } if bits > limits::MAX_FAST_KEY_BITS)
    }

    /// The algorithm and size of the key.
    pub fn kind(&self) -> KeyKind {
        match &self.0 {
            Signer::Ecdsa(curve, _) => KeyKind::Ecdsa(*curve),
            Signer::Ed25519(_) => KeyKind::Ed25519,
            Signer::Rsa(pair) => KeyKind::Rsa { bits: pair.public_modulus_len() * 8 },
        }
    }

    /// Encodes the key as DER.
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub fn to_der(&self, encoding: KeyEncoding) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        // The libraries wipe their own copies.
        let pkcs8 = match &self.0 {
            Signer::Ecdsa(_, pair) => pair.to_pkcs8v1()?.as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.to_pkcs8v1()?.as_ref().to_vec(),
            Signer::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(&**pair)?.as_ref().to_vec(),
        };
        let pkcs8 = Zeroizing::new(pkcs8);
        if encoding == KeyEncoding::Pkcs8 {
            return Ok(pkcs8);
        }
        let info = PrivateKeyInfoRef::from_der(&pkcs8).map_err(|_| KeyError::Malformed)?;
        match &self.0 {
            Signer::Rsa(_) => Ok(Zeroizing::new(info.private_key.as_bytes().to_vec())),
            Signer::Ed25519(_) => Ok(pkcs8),
            Signer::Ecdsa(curve, pair) => {
                let inner =
                    EcPrivateKey::from_der(info.private_key.as_bytes()).map_err(|_| KeyError::Malformed)?;
                // PKCS#8 stores the curve outside of the inner key. OpenSSL rejects a bare SEC 1 key that names no
                // curve.
                let whole = EcPrivateKey {
                    private_key: inner.private_key,
                    parameters: Some(EcParameters::NamedCurve(curve.oid())),
                    public_key: Some(pair.public_key().as_ref()),
                };
                whole.to_der().map(Zeroizing::new).map_err(|_| KeyError::Malformed)
            }
        }
    }

    /// Encodes the key as one PEM block, like Go does.
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub fn to_pem(&self, encoding: KeyEncoding) -> Result<Zeroizing<String>, KeyError> {
        let label = match (&self.0, encoding) {
            (Signer::Rsa(_), KeyEncoding::Traditional) => pem::PKCS1,
            (Signer::Ecdsa(..), KeyEncoding::Traditional) => pem::SEC1,
            _ => pem::PKCS8,
        };
        Ok(pem::encode(label, &self.to_der(encoding)?))
    }

    /// Encodes the public key as `SubjectPublicKeyInfo`, DER, RFC 5280 section 4.1.2.7.
    ///
    /// # Errors
    /// Only if the crypto library fails.
    pub fn public_key_der(&self) -> Result<Vec<u8>, KeyError> {
        let bytes = match &self.0 {
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

    /// Returns the components of the public key.
    pub fn public_components(&self) -> PublicComponents {
        match &self.0 {
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

    /// The public key as PKCS#1 DER (RSA) or as the bytes of the point. Its hash distinguishes keys.
    pub fn public_key_bytes(&self) -> &[u8] {
        match &self.0 {
            Signer::Ecdsa(_, pair) => pair.public_key().as_ref(),
            Signer::Ed25519(pair) => pair.public_key().as_ref(),
            Signer::Rsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// Signs for JWS (RFC 7518 section 3.1, RFC 8037): RS256, ES256, ES384, ES512, or EdDSA, depending on the key.
    ///
    /// # Errors
    /// The crypto library fails.
    pub fn sign_jws(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.0 {
            Signer::Ecdsa(_, pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Signer::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

#[cfg(test)]
mod tests;
