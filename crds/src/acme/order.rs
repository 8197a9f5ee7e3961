//! Order: one order at an ACME server, RFC 8555 section 7.1.3.

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{duration::GoDuration, meta::IssuerRef};

/// An order at an ACME server. It can't change. Made by the operator alone.
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
    validation = Rule::new("self.spec == oldSelf.spec").message("cannot change spec after creation: delete the Order, and another is made"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".spec.issuerRef.name", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct OrderSpec {
    /// The common name of the CSR; one of the names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// The DNS names to order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// How long the certificate shall be valid, as a Go duration, where the issuer asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// The IP addresses to order, RFC 8738.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_addresses: Option<Vec<String>>,
    /// Where to order.
    pub issuer_ref: IssuerRef,
    /// The profile to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The certificate that the new one replaces, as its ARI identifier, RFC 9773 section 4.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The CSR: PEM, base64 in JSON.
    #[schemars(schema_with = "crate::schema::bytes")]
    pub request: ByteString,
}

/// What is known of an order. Written by the order controller alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!has(oldSelf.url) || oldSelf.url == '' || (has(self.url) && self.url == oldSelf.url)", "url is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.finalizeURL) || oldSelf.finalizeURL == '' || (has(self.finalizeURL) && self.finalizeURL == oldSelf.finalizeURL)", "finalizeURL is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.certificate) || size(oldSelf.certificate) == 0 || (has(self.certificate) && self.certificate == oldSelf.certificate)", "certificate is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.authorizations) || size(oldSelf.authorizations) == 0 || (has(self.authorizations) && self.authorizations.map(it, it.url) == oldSelf.authorizations.map(it, it.url))", "authorizations are immutable once set"))]
#[serde(rename_all = "camelCase")]
pub struct OrderStatus {
    /// What the server wants to be shown, one for each name. Their URLs are known first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["url".into()]))]
    pub authorizations: Option<Vec<Authorization>>,
    /// The chain, PEM, leaf first, base64 in JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub certificate: Option<ByteString>,
    /// When the order failed for good, UTC, whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<Time>,
    /// Where the CSR goes.
    #[serde(default, rename = "finalizeURL", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub finalize_url: Option<String>,
    /// For people: why it is in its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The state at the server, or `errored`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The order's URL: with it, nothing has to be ordered twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
}

/// State of an order or a challenge: those of RFC 8555 section 7.1.6, and one of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The server waits for challenges.
    Pending,
    /// All authorizations are valid: it can be finalized.
    Ready,
    /// The server is at work.
    Processing,
    /// The certificate is there.
    Valid,
    /// The server has given it up.
    Invalid,
    /// It was left too long.
    Expired,
    /// Ours: it can't go on, for a reason that the server does not know or that is no state of it.
    Errored,
}

/// An authorization, RFC 8555 section 7.1.4. What was learnt of it stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!has(oldSelf.challenges) || size(oldSelf.challenges) == 0 || (has(self.challenges) && self.challenges == oldSelf.challenges)", "challenges of authorizations are immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.identifier) || oldSelf.identifier == '' || (has(self.identifier) && self.identifier == oldSelf.identifier)", "identifier of authorizations is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.initialState) || (has(self.initialState) && self.initialState == oldSelf.initialState)", "initialState of authorizations is immutable once set"))]
#[x_kube(validation = ("!has(oldSelf.wildcard) || (has(self.wildcard) && self.wildcard == oldSelf.wildcard)", "wildcard of authorizations is immutable once set"))]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// What may be used to show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub challenges: Option<Vec<OfferedChallenge>>,
    /// The DNS name, without "*.", or the IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub identifier: Option<String>,
    /// Its state when the order was made: a `valid` one needs no challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_state: Option<State>,
    /// Its URL.
    #[schemars(length(max = 2048))]
    pub url: String,
    /// Whether it is for all names one label below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wildcard: Option<bool>,
}

/// A challenge that the server offers, RFC 8555 section 8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferedChallenge {
    /// Its token.
    #[schemars(length(max = 1024))]
    pub token: String,
    /// Its type as the server says it, such as "http-01".
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,
    /// Its URL.
    #[schemars(length(max = 2048))]
    pub url: String,
}
