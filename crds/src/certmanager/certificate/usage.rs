//! Key usages of a certificate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key usage (RFC 5280 section 4.2.1.3) or extended key usage (section 4.2.1.12). "signing" is the same as
/// "digital signature", and "s/mime" is the same as "email protection".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyUsage {
    /// The same as [`KeyUsage::DigitalSignature`].
    Signing,
    /// digitalSignature.
    #[serde(rename = "digital signature")]
    DigitalSignature,
    /// contentCommitment, formerly nonRepudiation.
    #[serde(rename = "content commitment")]
    ContentCommitment,
    /// keyEncipherment.
    #[serde(rename = "key encipherment")]
    KeyEncipherment,
    /// keyAgreement.
    #[serde(rename = "key agreement")]
    KeyAgreement,
    /// dataEncipherment.
    #[serde(rename = "data encipherment")]
    DataEncipherment,
    /// keyCertSign.
    #[serde(rename = "cert sign")]
    CertSign,
    /// cRLSign.
    #[serde(rename = "crl sign")]
    CrlSign,
    /// encipherOnly.
    #[serde(rename = "encipher only")]
    EncipherOnly,
    /// decipherOnly.
    #[serde(rename = "decipher only")]
    DecipherOnly,
    /// anyExtendedKeyUsage.
    Any,
    /// id-kp-serverAuth.
    #[serde(rename = "server auth")]
    ServerAuth,
    /// id-kp-clientAuth.
    #[serde(rename = "client auth")]
    ClientAuth,
    /// id-kp-codeSigning.
    #[serde(rename = "code signing")]
    CodeSigning,
    /// id-kp-emailProtection.
    #[serde(rename = "email protection")]
    EmailProtection,
    /// The same as [`KeyUsage::EmailProtection`].
    #[serde(rename = "s/mime")]
    SMime,
    /// id-kp-ipsecEndSystem.
    #[serde(rename = "ipsec end system")]
    IpsecEndSystem,
    /// id-kp-ipsecTunnel.
    #[serde(rename = "ipsec tunnel")]
    IpsecTunnel,
    /// id-kp-ipsecUser.
    #[serde(rename = "ipsec user")]
    IpsecUser,
    /// id-kp-timeStamping.
    Timestamping,
    /// id-kp-OCSPSigning.
    #[serde(rename = "ocsp signing")]
    OcspSigning,
    /// Microsoft Server Gated Crypto.
    #[serde(rename = "microsoft sgc")]
    MicrosoftSgc,
    /// Netscape Server Gated Crypto.
    #[serde(rename = "netscape sgc")]
    NetscapeSgc,
}
