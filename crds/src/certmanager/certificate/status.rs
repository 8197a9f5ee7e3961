//! The status of a Certificate.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// Most recently observed status of the Certificate. Only the certificate controller writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// Information from the ACME server about the certificate in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<CertificateAcmeStatus>,
    /// Conditions of the Certificate. "Ready" is True if the Secret stores a certificate that matches the
    /// spec and has not expired. "Issuing" is True while an issuance is in progress, False after it failed,
    /// and absent after it succeeded.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::schema::null_as_empty"
    )]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Number of consecutive issuances that failed. The delay before the next attempt grows with it. Unset
    /// after a successful issuance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_issuance_attempts: Option<i64>,
    /// Time at which the last issuance failed, in UTC with a resolution of one second. Unset after a
    /// successful issuance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Time>,
    /// Name of the Secret that stores the private key of the issuance in progress. Unset if no issuance is in
    /// progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_private_key_secret_name: Option<String>,
    /// Time at which the certificate in the Secret expires, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// Time at which the certificate in the Secret becomes valid, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Time at which the certificate will be renewed, in UTC with a resolution of one second. Unset if
    /// renewal is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// Number of successful issuances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}

/// Information from the ACME server about a certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAcmeStatus {
    /// Renewal information for the certificate (RFC 9773).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ari: Option<RenewalInformation>,
}

/// When the ACME server suggests that a certificate is renewed (RFC 9773 section 4.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewalInformation {
    /// URL of a page that explains the suggested window, if the ACME server provides one.
    #[serde(default, rename = "explanationURL", skip_serializing_if = "Option::is_none")]
    pub explanation_url: Option<String>,
    /// Time of the last request for renewal information, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checked: Option<Time>,
    /// Error of the last request for renewal information. Unset if the request succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Time of the next request for renewal information, in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Time>,
    /// Time window in which the ACME server suggests that the certificate is renewed. The operator chooses a
    /// random time in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggested_window: Option<SuggestedWindow>,
}

/// A time window that includes its start but not its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuggestedWindow {
    /// End of the window (exclusive), in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// Start of the window (inclusive), in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
}
