//! The private key of a Certificate, and the algorithm with which it signs the certificate signing request (CSR).

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Properties of the private key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!has(self.size) || self.size == 0 || (has(self.algorithm) && self.algorithm != 'RSA') || (self.size >= 2048 && self.size <= 8192)", "size must be between 2048 and 8192 for algorithm RSA"))]
#[x_kube(validation = ("!has(self.size) || !has(self.algorithm) || self.algorithm != 'ECDSA' || self.size in [0, 256, 384, 521]", "size must be 256, 384, or 521 for algorithm ECDSA"))]
#[serde(rename_all = "camelCase")]
pub struct CertificatePrivateKey {
    /// Algorithm of the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<KeyAlgorithm>,
    /// Encoding of the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<KeyEncoding>,
    /// When the private key is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_policy: Option<RotationPolicy>,
    /// Size of the private key in bits. For RSA: 2048, 3072, 4096, or 8192; defaults to 2048. For ECDSA: 256,
    /// 384, or 521; defaults to 256. Ignored for Ed25519.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,
}

/// Algorithm of the private key: "RSA", "ECDSA" (on the NIST curves), or "Ed25519" (RFC 8032), which no
/// public CA accepts yet. Defaults to "RSA".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// ECDSA on the NIST curves.
    ECDSA,
    /// Ed25519, RFC 8032. No public CA accepts it yet.
    Ed25519,
    /// RSA, the default.
    RSA,
}

/// Encoding of the private key in "tls.key", always in PEM: "PKCS1" means PKCS#1 ("RSA PRIVATE KEY") for RSA,
/// SEC 1 ("EC PRIVATE KEY") for ECDSA, and PKCS#8 for Ed25519; "PKCS8" means PKCS#8 ("PRIVATE KEY") for all
/// algorithms. Defaults to "PKCS1".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyEncoding {
    /// `RSA PRIVATE KEY` for RSA, or `EC PRIVATE KEY` (SEC 1) for ECDSA. Ed25519 keys are always encoded as
    /// PKCS#8.
    PKCS1,
    /// `PRIVATE KEY`.
    PKCS8,
}

/// When the private key is replaced: "Always" creates a new key for each issuance; "Never" reuses the key in
/// the Secret. With "Never", a key that no longer matches algorithm and size stops the issuance until the
/// policy is changed or the Secret is deleted. Defaults to "Always".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationPolicy {
    /// Each issuance creates a new key.
    Always,
    /// The key in the Secret is reused as long as it matches the spec.
    Never,
}

/// Algorithm that signs the certificate signing request (CSR). It must match privateKey.algorithm and, for
/// ECDSA, the size of the key: SHA-256 for 256 bits, SHA-384 for 384 bits, and SHA-512 for 521 bits. By
/// default, the operator chooses an algorithm that matches the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureAlgorithm {
    /// ECDSA with SHA-256.
    ECDSAWithSHA256,
    /// ECDSA with SHA-384.
    ECDSAWithSHA384,
    /// ECDSA with SHA-512.
    ECDSAWithSHA512,
    /// Ed25519, RFC 8032.
    PureEd25519,
    /// RSA PKCS#1 v1.5 with SHA-256.
    SHA256WithRSA,
    /// RSA PKCS#1 v1.5 with SHA-384.
    SHA384WithRSA,
    /// RSA PKCS#1 v1.5 with SHA-512.
    SHA512WithRSA,
}
