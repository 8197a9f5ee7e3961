//! Metadata and additional encodings in the Secret of a Certificate.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An additional encoding in the Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdditionalOutputFormat {
    /// Encoding to store: "CombinedPEM" stores the private key, a newline, and the certificate chain as
    /// "tls-combined.pem"; "DER" stores the private key in DER as "key.der".
    #[serde(rename = "type")]
    pub type_: OutputFormat,
}

/// Type of an additional encoding in the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OutputFormat {
    /// `tls-combined.pem`: private key, newline, and certificate chain.
    CombinedPEM,
    /// `key.der`: the private key in DER.
    DER,
}

/// Labels and annotations of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Annotations to set on the Secret, at most 1000. Keys that start with "cert-manager.io/" are reserved,
    /// except for "cert-manager.io/allow-direct-injection".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 1000))]
    #[x_kube(validation = ("self.all(key, !key.startsWith('cert-manager.io/') || key == 'cert-manager.io/allow-direct-injection')", "keys that start with cert-manager.io/ are reserved, except for cert-manager.io/allow-direct-injection"))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels to set on the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}
