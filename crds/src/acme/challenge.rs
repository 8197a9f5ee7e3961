//! Challenge: the proof that an ACME account controls one name of an order (RFC 8555 section 8).

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{ChallengeType, Solver, State};
use crate::meta::IssuerRef;

/// A Challenge represents one challenge of an ACME server (RFC 8555 section 8), which proves that the account
/// controls one name of an Order. The operator creates it for the Order; do not create Challenges yourself.
/// Its spec is immutable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "acme.cert-manager.io",
    version = "v1",
    kind = "Challenge",
    plural = "challenges",
    singular = "challenge",
    category = "cert-manager",
    category = "cert-manager-acme",
    namespaced,
    status = "ChallengeStatus",
    derive = "PartialEq",
    selectable = ".spec.issuerRef.group",
    selectable = ".spec.issuerRef.kind",
    selectable = ".spec.issuerRef.name",
    validation = Rule::new("self.spec == oldSelf.spec").message("cannot change spec after creation: delete the Challenge, and the operator creates a new one"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.dnsName"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeSpec {
    /// URL of the authorization that the challenge belongs to.
    #[serde(rename = "authorizationURL")]
    pub authorization_url: String,
    /// DNS name without the "*." of a wildcard, or IP address.
    pub dns_name: String,
    /// The issuer whose ACME account placed the order.
    pub issuer_ref: IssuerRef,
    /// Key authorization (RFC 8555 section 8.1): the response that the ACME server expects.
    pub key: String,
    /// Solver for the challenge: a copy of the issuer's solver, with overrides from the Certificate's
    /// annotations.
    // Shared, because thousands of Challenges have copies of the same few.
    pub solver: Arc<Solver>,
    /// Token of the challenge, from the ACME server.
    pub token: String,
    /// Type of the challenge: "HTTP-01" or "DNS-01".
    #[serde(rename = "type")]
    pub type_: ChallengeType,
    /// URL of the challenge at the ACME server.
    pub url: String,
    /// Whether the challenge is for a wildcard: all names one label below dnsName.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<bool>,
}

/// Most recently observed status of the Challenge. Only the challenge controller writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeStatus {
    /// Whether the response to the challenge has been set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented: Option<bool>,
    /// Time at which the response was set up, in UTC with a resolution of one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented_at: Option<Time>,
    /// Whether the operator is working on the challenge. False once the challenge has reached a final state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing: Option<bool>,
    /// Human-readable explanation of the state: what the challenge is waiting for, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// State of the challenge: "pending", "processing", "valid", or "invalid" at the ACME server (RFC 8555
    /// section 7.1.6); "expired" if it was not completed in time; or "errored" if the operator cannot
    /// complete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "State")]
    pub state: Option<State>,
}
