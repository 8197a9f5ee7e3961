//! What the Secret of a Certificate holds besides chain and key.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A further form of key and chain in the Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdditionalOutputFormat {
    /// Which.
    #[serde(rename = "type")]
    pub type_: OutputFormat,
}

/// Which further form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OutputFormat {
    /// `tls-combined.pem`: private key, newline, chain.
    CombinedPEM,
    /// `key.der`: the private key in DER.
    DER,
}

/// Labels and annotations of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Annotations; keys under "cert-manager.io/" are ours, but for cert-manager.io/allow-direct-injection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 1000))]
    #[x_kube(validation = ("self.all(key, !key.startsWith('cert-manager.io/') || key == 'cert-manager.io/allow-direct-injection')", "keys under cert-manager.io/ are not allowed, but for cert-manager.io/allow-direct-injection"))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}
