//! The private key of a Certificate, and how it signs the CSR.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a private key shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!has(self.size) || self.size == 0 || (has(self.algorithm) && self.algorithm != 'RSA') || (self.size >= 2048 && self.size <= 8192)", "size must be between 2048 and 8192 for algorithm RSA"))]
#[x_kube(validation = ("!has(self.size) || !has(self.algorithm) || self.algorithm != 'ECDSA' || self.size in [0, 256, 384, 521]", "size must be 256, 384 or 521 for algorithm ECDSA"))]
#[serde(rename_all = "camelCase")]
pub struct CertificatePrivateKey {
    /// Which algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<KeyAlgorithm>,
    /// How it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<KeyEncoding>,
    /// When it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_policy: Option<RotationPolicy>,
    /// In bits: RSA 2048 to 8192, 2048 if not set; ECDSA 256, 384 or 521, 256 if not set; ignored for Ed25519.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,
}

/// Algorithm of the private key; RSA if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// Elliptic curves of NIST.
    ECDSA,
    /// RFC 8032. No public CA takes it yet.
    Ed25519,
    /// The default.
    RSA,
}

/// How the private key is written in PEM; PKCS1 if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyEncoding {
    /// `RSA PRIVATE KEY`, or `EC PRIVATE KEY` (SEC 1) for ECDSA. Ed25519 is written as PKCS8 all the same.
    PKCS1,
    /// `PRIVATE KEY`.
    PKCS8,
}

/// When the private key changes; Always if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationPolicy {
    /// With every issuance.
    Always,
    /// Never: the key in the Secret is used as long as it fits the spec.
    Never,
}

/// How the CSR is signed; what suits the key if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureAlgorithm {
    /// ECDSA over SHA-256.
    ECDSAWithSHA256,
    /// ECDSA over SHA-384.
    ECDSAWithSHA384,
    /// ECDSA over SHA-512.
    ECDSAWithSHA512,
    /// Ed25519, RFC 8032.
    PureEd25519,
    /// RSA PKCS#1 v1.5 over SHA-256.
    SHA256WithRSA,
    /// RSA PKCS#1 v1.5 over SHA-384.
    SHA384WithRSA,
    /// RSA PKCS#1 v1.5 over SHA-512.
    SHA512WithRSA,
}
