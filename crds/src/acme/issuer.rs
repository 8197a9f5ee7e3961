//! The ACME settings and status of Issuer and ClusterIssuer.

use k8s_openapi::ByteString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Solver;
use crate::{annotations::secret, meta::SecretKeySelector};

/// An ACME server, an account at that server, and the solvers for its challenges. Mirrors cert-manager's
/// `acme/v1` `ACMEIssuer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!has(self.caBundle) || !has(self.skipTLSVerify) || !self.skipTLSVerify", "caBundle and skipTLSVerify are mutually exclusive and cannot both be set"))]
#[serde(rename_all = "camelCase")]
pub struct AcmeIssuer {
    /// PEM-encoded CA certificates to trust in TLS connections to the ACME server, at most 64 KiB,
    /// base64-encoded in JSON.
    /// Defaults to the operator's system trust store, or to Mozilla's root certificates if that is empty.
    /// Mutually exclusive with skipTLSVerify: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::ca_bundle")]
    pub ca_bundle: Option<ByteString>,
    /// Whether the account's private key must be provided in privateKeySecretRef. If true, the issuer is not
    /// ready until the Secret exists. If false, the operator creates a missing key, RSA with 2048 bits.
    /// Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_account_key_generation: Option<bool>,
    /// Email address at which the CA can contact the account's owner. It is sent in lowercase. If it changes,
    /// the account is updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether orders request the duration of the Certificate (notAfter in RFC 8555 section 7.1.3). Some ACME
    /// servers, such as Let's Encrypt, reject orders that do. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_duration_feature: Option<bool>,
    /// Existing account at the CA to which the ACME account is bound (RFC 8555 section 7.3.4). Some CAs
    /// require it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account_binding: Option<ExternalAccountBinding>,
    /// Chain to use if the ACME server offers more than one: the first chain whose topmost certificate was
    /// issued by this common name, at most 64 characters. If no chain matches, the server's default chain is
    /// used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub preferred_chain: Option<String>,
    /// Secret that stores the account's private key in PEM. Its key defaults to "tls.key". The operator
    /// creates the Secret if it does not exist, unless disableAccountKeyGeneration is true.
    #[x_kube(validation = ("self.name != ''", "privateKeySecretRef.name must be specified"))]
    pub private_key_secret_ref: SecretKeySelector,
    /// Certificate profile to request. It must be one of the profiles in the ACME server's directory. By
    /// default, the server chooses the profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Source of renewal times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_information_source: Option<RenewalInformationSource>,
    /// URL of the ACME server's directory, such as `https://acme-v02.api.letsencrypt.org/directory`. Must be
    /// an https URL of at most 2048 characters.
    #[schemars(length(max = 2048))]
    #[x_kube(validation = ("self != ''", "the URL of the ACME server's directory must be specified"))]
    pub server: String,
    /// Whether to skip the verification of the ACME server's TLS certificate. This is insecure: use it in
    /// tests only, and prefer caBundle. Mutually exclusive with caBundle. Defaults to false.
    #[serde(default, rename = "skipTLSVerify", skip_serializing_if = "Option::is_none")]
    pub skip_tls_verify: Option<bool>,
    /// Solvers for challenges, at most 1000. For each name, the operator uses the solver with the most
    /// specific selector that matches: first by exact DNS names, then by the longest DNS zone, then by the
    /// number of labels, then by order in this list. An order with a name that no solver matches fails.
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

/// An existing account at the CA to which an ACME account is bound (RFC 8555 section 7.3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAccountBinding {
    /// Deprecated and ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<HmacAlgorithm>,
    /// Key identifier from the CA, at most 1024 characters.
    #[serde(rename = "keyID")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = ("self != ''", "the key ID from the CA must be specified"))]
    pub key_id: String,
    /// Secret that stores the MAC key from the CA, encoded as base64url without padding, as CAs usually
    /// display it. Do not encode it again. Its key must be set.
    #[x_kube(validation = ("self.name != ''", "keySecretRef.name must be specified"))]
    pub key_secret_ref: SecretKeySelector,
}

/// Deprecated and ignored: the binding is always signed with HS256 (RFC 7518 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HmacAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
}

/// Source of renewal times: "ARI" uses the renewal information of the ACME server (RFC 9773), if the server
/// provides it; "None" uses the settings of the Certificate only. Defaults to "ARI".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RenewalInformationSource {
    /// The renewal information of the ACME server (RFC 9773), if the server provides it.
    ARI,
    /// The settings of the Certificate only.
    None,
}

/// The ACME account of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcmeIssuerStatus {
    /// Base64-encoded SHA-256 hash of the account's private key (for RSA, in PKCS#1). If it does not match
    /// the key in the Secret, the account of that key is found or created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_private_key_hash: Option<String>,
    /// Email address that was last registered with the ACME server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_registered_email: Option<String>,
    /// URL of the account (RFC 8555 section 7.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
}
