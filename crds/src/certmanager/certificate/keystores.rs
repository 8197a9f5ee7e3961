//! Keystores in the Secret of a Certificate.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::SecretKeySelector;

/// Keystores in the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Keystores {
    /// Java keystore (JKS) with the private key and the certificate chain, stored as "keystore.jks". If
    /// create is true, exactly one of password and passwordSecretRef must be set. If the issuer provides a CA
    /// certificate, which ACME servers do not, "truststore.jks" has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("!self.create || (has(self.password) && self.password != '') != has(self.passwordSecretRef)", "exactly one of password and passwordSecretRef must be set"))]
    pub jks: Option<JksKeystore>,
    /// PKCS#12 keystore with the private key and the certificate chain, stored as "keystore.p12". If create
    /// is true, exactly one of password and passwordSecretRef must be set. If the issuer provides a CA
    /// certificate, which ACME servers do not, "truststore.p12" has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("!self.create || (has(self.password) && self.password != '') != has(self.passwordSecretRef)", "exactly one of password and passwordSecretRef must be set"))]
    pub pkcs12: Option<Pkcs12Keystore>,
}

/// A Java keystore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JksKeystore {
    /// Alias of the private key in the keystore. Defaults to "certificate".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whether to create the keystore. If false, the other fields have no effect.
    pub create: bool,
    /// Password of the keystore in plain text, at most 1024 characters. Prefer passwordSecretRef, which keeps
    /// the password out of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub password: Option<String>,
    /// Secret, in the same namespace, that stores the password of the keystore. Its key must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
}

/// A PKCS#12 keystore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pkcs12Keystore {
    /// Whether to create the keystore. If false, the other fields have no effect.
    pub create: bool,
    /// Password of the keystore in plain text, at most 1024 characters. Prefer passwordSecretRef, which keeps
    /// the password out of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub password: Option<String>,
    /// Secret, in the same namespace, that stores the password of the keystore. Its key must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
    /// Encryption of the keystore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Pkcs12Profile>,
}

/// Encryption of the PKCS#12 keystore: "LegacyRC2" (RC2 and SHA-1) is readable by every program but insecure;
/// "LegacyDES" (3DES and SHA-1) is readable by OpenSSL 1 and old versions of Java; "Modern2023" uses AES-256
/// and SHA-256; "Modern2026" also protects the keystore with PBMAC1 (RFC 9579). Defaults to "LegacyRC2".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pkcs12Profile {
    /// 3DES and SHA-1, for OpenSSL 1 and old versions of Java.
    LegacyDES,
    /// RC2 and SHA-1: readable by every program, but insecure.
    LegacyRC2,
    /// AES-256 and SHA-256.
    Modern2023,
    /// AES-256 and SHA-256, with PBMAC1 (RFC 9579).
    Modern2026,
}
