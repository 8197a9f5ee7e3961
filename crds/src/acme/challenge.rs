//! Challenge: one name of one order, shown to be ours, RFC 8555 section 8.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{ChallengeType, Solver, State};
use crate::meta::IssuerRef;

/// A challenge that is solved. It can't change. Made by the operator alone.
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
    validation = Rule::new("self.spec == oldSelf.spec").message("cannot change spec after creation: delete the Challenge, and another is made"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.dnsName"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeSpec {
    /// URL of the authorization that it is part of.
    #[serde(rename = "authorizationURL")]
    pub authorization_url: String,
    /// The DNS name, without "*.", or the IP address.
    pub dns_name: String,
    /// Whose account ordered.
    pub issuer_ref: IssuerRef,
    /// The key authorization, RFC 8555 section 8.1: what the server wants to read.
    pub key: String,
    /// How it is solved: a copy of the issuer's solver, with what the Certificate overrides.
    pub solver: Solver,
    /// The token that the server chose.
    pub token: String,
    /// What kind.
    #[serde(rename = "type")]
    pub type_: ChallengeType,
    /// Its URL.
    pub url: String,
    /// Whether it is for all names one label below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<bool>,
}

/// What is known of a challenge. Written by the challenge controller alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeStatus {
    /// Whether it can be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented: Option<bool>,
    /// Since when, UTC, whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented_at: Option<Time>,
    /// Whether its turn has come; at its end it is false again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing: Option<bool>,
    /// For people: what it waits for, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The state at the server, or `errored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}
