//! The ACME part of Issuer and ClusterIssuer.

use k8s_openapi::ByteString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Solver;
use crate::{annotations::secret, meta::SecretKeySelector};

/// An ACME server, an account there, and how its challenges are solved. Mirrors upstream's `acme/v1` `ACMEIssuer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!has(self.caBundle) || !has(self.skipTLSVerify) || !self.skipTLSVerify", "caBundle and skipTLSVerify are mutually exclusive and cannot both be set"))]
#[serde(rename_all = "camelCase")]
pub struct AcmeIssuer {
    /// CAs to trust when talking to the server, PEM, base64 in JSON; the system's if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub ca_bundle: Option<ByteString>,
    /// Whether the account's key must be there already; if false or not set, one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_account_key_generation: Option<bool>,
    /// Where the server may write to about the account. Sent in lower case; a change updates the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether a Certificate's duration is asked for. Let's Encrypt refuses such orders; false if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_duration_feature: Option<bool>,
    /// An account that one has with the CA already, RFC 8555 section 7.3.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account_binding: Option<ExternalAccountBinding>,
    /// Among the chains that the server offers, the one whose topmost certificate was issued by this common name; the
    /// default one if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub preferred_chain: Option<String>,
    /// The Secret with the account's private key, PEM; its key is "tls.key" if not set. Made if it is not there.
    #[x_kube(validation = ("self.name != ''", "privateKeySecretRef.name must be specified"))]
    pub private_key_secret_ref: SecretKeySelector,
    /// The profile to ask for, one of those that the server's directory lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Who says when to renew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_information_source: Option<RenewalInformationSource>,
    /// URL of the server's directory, as the CA tells it.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = ("self != ''", "the URL of the ACME server's directory must be specified"))]
    pub server: String,
    /// Whether the server's own certificate is not checked. For tests only; false if not set.
    #[serde(default, rename = "skipTLSVerify", skip_serializing_if = "Option::is_none")]
    pub skip_tls_verify: Option<bool>,
    /// How challenges are solved: the solver with the most specific selector that matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub solvers: Option<Vec<Solver>>,
}

impl AcmeIssuer {
    /// Returns the key of the account's private key in the data of its Secret: `tls.key` unless
    /// `privateKeySecretRef.key` is set and not empty.
    ///
    /// ```
    /// use crds::acme::AcmeIssuer;
    ///
    /// let mut issuer = AcmeIssuer::default();
    /// assert_eq!(issuer.account_key_data_key(), "tls.key");
    /// issuer.private_key_secret_ref.key = Some("account.pem".into());
    /// assert_eq!(issuer.account_key_data_key(), "account.pem");
    /// ```
    pub fn account_key_data_key(&self) -> &str {
        self.private_key_secret_ref.key.as_deref().filter(|key| !key.is_empty()).unwrap_or(secret::TLS_KEY)
    }
}

/// An account that one has with the CA already, RFC 8555 section 7.3.4.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAccountBinding {
    /// Deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<HmacAlgorithm>,
    /// The key identifier that the CA gave.
    #[serde(rename = "keyID")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = ("self != ''", "the key ID that the CA gave must be specified"))]
    pub key_id: String,
    /// The Secret with the MAC key that the CA gave, as base64url without padding.
    #[x_kube(validation = ("self.name != ''", "keySecretRef.name must be specified"))]
    pub key_secret_ref: SecretKeySelector,
}

/// Deprecated: HS256 (RFC 7518 section 3.2) is used whatever it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HmacAlgorithm {
    /// HMAC over SHA-256.
    HS256,
    /// HMAC over SHA-384.
    HS384,
    /// HMAC over SHA-512.
    HS512,
}

/// Who says when to renew; ARI if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RenewalInformationSource {
    /// The ACME server, by RFC 9773, where it does.
    ARI,
    /// The Certificate alone.
    None,
}

/// What is known of an ACME account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeIssuerStatus {
    /// Base64 of the SHA-256 over the account's private key, in PKCS#1 for RSA: a new key needs a new account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_private_key_hash: Option<String>,
    /// The contact that the server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_registered_email: Option<String>,
    /// URL of the account, RFC 8555 section 7.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}
