//! Key stores in the Secret of a Certificate.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meta::SecretKeySelector;

/// Key stores in the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Keystores {
    /// Java key stores, `keystore.jks` and `truststore.jks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("!self.create || (has(self.password) && self.password != '') != has(self.passwordSecretRef)", "needs exactly one of password and passwordSecretRef"))]
    pub jks: Option<JksKeystore>,
    /// PKCS#12 key stores, `keystore.p12` and `truststore.p12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("!self.create || (has(self.password) && self.password != '') != has(self.passwordSecretRef)", "needs exactly one of password and passwordSecretRef"))]
    pub pkcs12: Option<Pkcs12Keystore>,
}

/// A Java key store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JksKeystore {
    /// The alias of the key; "certificate" if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whether to make it.
    pub create: bool,
    /// The password, as it is. Better name a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub password: Option<String>,
    /// The Secret that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
}

/// A PKCS#12 key store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pkcs12Keystore {
    /// Whether to make it.
    pub create: bool,
    /// The password, as it is. Better name a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub password: Option<String>,
    /// The Secret that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
    /// How it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Pkcs12Profile>,
}

/// How the PKCS#12 key store is encrypted; LegacyRC2 if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pkcs12Profile {
    /// 3DES and SHA-1: what OpenSSL 1 and old Javas read.
    LegacyDES,
    /// RC2 and SHA-1: what everything reads, and nothing should use.
    LegacyRC2,
    /// AES-256 and SHA-256.
    Modern2023,
    /// AES-256 and SHA-256, with PBMAC1.
    Modern2026,
}
