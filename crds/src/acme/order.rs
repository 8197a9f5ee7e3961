//! Order: one order at an ACME server (RFC 8555 section 7.1.3).

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{duration::GoDuration, meta::IssuerRef};

/// An Order represents one order at an ACME server (RFC 8555 section 7.1.3). The operator creates it for a
/// CertificateRequest; do not create Orders yourself. Its spec is immutable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "acme.cert-manager.io",
    version = "v1",
    kind = "Order",
    plural = "orders",
    singular = "order",
    category = "cert-manager",
    category = "cert-manager-acme",
    namespaced,
    status = "OrderStatus",
    derive = "PartialEq",
    selectable = ".spec.issuerRef.group",
    selectable = ".spec.issuerRef.kind",
    selectable = ".spec.issuerRef.name",
    validation = Rule::new("self.spec == oldSelf.spec").message("cannot change spec after creation: delete the Order, and the operator creates a new one"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".spec.issuerRef.name", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct OrderSpec {
    /// Common name of the CSR. It must be one of the ordered names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// DNS names to order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// Requested lifetime of the certificate, as a Go duration. Set only if the issuer sets
    /// enableDurationFeature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// IP addresses to order (RFC 8738).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_addresses: Option<Vec<String>>,
    /// The issuer whose ACME account places the order.
    pub issuer_ref: IssuerRef,
    /// Certificate profile to request, from the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Certificate that the ordered certificate replaces, as its ARI identifier (RFC 9773 section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// PEM-encoded certificate signing request (CSR), base64-encoded in JSON.
    #[schemars(schema_with = "crate::schema::bytes")]
    pub request: ByteString,
}

/// Most recently observed status of the Order. Only the order controller writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!has(oldSelf.url) || oldSelf.url == '' || (has(self.url) && self.url == oldSelf.url)", "url is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.finalizeURL) || oldSelf.finalizeURL == '' || (has(self.finalizeURL) && self.finalizeURL == oldSelf.finalizeURL)", "finalizeURL is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.certificate) || size(oldSelf.certificate) == 0 || (has(self.certificate) && self.certificate == oldSelf.certificate)", "certificate is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.authorizations) || size(oldSelf.authorizations) == 0 || (has(self.authorizations) && self.authorizations.map(it, it.url) == oldSelf.authorizations.map(it, it.url))", "authorizations are immutable once set"))]
#[serde(rename_all = "camelCase")]
pub struct OrderStatus {
    /// Authorizations that the ACME server requires, one for each name, at most 1000. Their URLs may be
    /// recorded before their other fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["url".into()]))]
    pub authorizations: Option<Vec<Authorization>>,
    /// PEM-encoded certificate chain, leaf first, base64-encoded in JSON. Immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub certificate: Option<ByteString>,
    /// Time at which the order failed permanently, in UTC with a resolution of one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<Time>,
    /// URL to which the CSR is sent to finalize the order (RFC 8555 section 7.4). Immutable once set.
    #[serde(default, rename = "finalizeURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub finalize_url: Option<String>,
    /// Human-readable explanation of the state: what the order is waiting for, or why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// State of the order: "pending", "ready", "processing", "valid", or "invalid" at the ACME server (RFC
    /// 8555 section 7.1.6); "expired" if it was not completed in time; or "errored" if the operator cannot
    /// complete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "State")]
    pub state: Option<State>,
    /// URL of the order. It is recorded as soon as the order is placed, so that the operator resumes this
    /// order after a restart instead of placing a new one. Immutable once set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
}

/// State of an order, an authorization, or a challenge: a state at the ACME server (RFC 8555 section 7.1.6),
/// or `errored`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The ACME server waits for challenges.
    Pending,
    /// All authorizations are valid, and the order can be finalized.
    Ready,
    /// The ACME server is processing the request.
    Processing,
    /// The challenge succeeded, or the certificate has been issued.
    Valid,
    /// The ACME server has rejected the order or the challenge.
    Invalid,
    /// It was not completed in time.
    Expired,
    /// The operator cannot complete it. Only the operator sets this state: the ACME server does not know the
    /// reason or has no state for it.
    Errored,
}

/// An authorization of the account for one name (RFC 8555 section 7.1.4). Its fields are immutable once set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!has(oldSelf.challenges) || size(oldSelf.challenges) == 0 || (has(self.challenges) && self.challenges == oldSelf.challenges)", "challenges of authorizations are immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.identifier) || oldSelf.identifier == '' || (has(self.identifier) && self.identifier == oldSelf.identifier)", "identifier of authorizations is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.initialState) || (has(self.initialState) && self.initialState == oldSelf.initialState)", "initialState of authorizations is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.wildcard) || (has(self.wildcard) && self.wildcard == oldSelf.wildcard)", "wildcard of authorizations is immutable once set"))]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// Challenges that the ACME server offers, at most 32. One of them must be completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub challenges: Option<Vec<OfferedChallenge>>,
    /// DNS name without the "*." of a wildcard, or IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub identifier: Option<String>,
    /// State of the authorization when the order was placed. If it is "valid", no challenge is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "State")]
    pub initial_state: Option<State>,
    /// URL of the authorization.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// Whether the authorization is for a wildcard: all names one label below identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<bool>,
}

/// A challenge that the ACME server offers (RFC 8555 section 8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferedChallenge {
    /// Token of the challenge.
    #[schemars(length(max = 1024))]
    pub token: String,
    /// Type of the challenge as the ACME server names it, such as "http-01".
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// URL of the challenge.
    #[schemars(length(max = 2048))]
    pub url: String,
}
