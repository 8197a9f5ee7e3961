//! How challenges are solved: in an issuer, and as a copy in each Challenge.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Preserved, duration::GoDuration};

/// One way to solve challenges. Mirrors upstream's `acme/v1` `ACMEChallengeSolver`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("has(self.http01) || has(self.dns01)", "no solver type configured: set http01 or dns01"))]
#[x_kube(validation = ("!has(self.http01) || !has(self.dns01)", "only one of http01 and dns01 may be set"))]
#[serde(rename_all = "camelCase")]
pub struct Solver {
    /// Challenges by DNS records. Kept for others; this operator does not act on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns01: Option<Preserved>,
    /// Challenges by HTTP, RFC 8555 section 8.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http01: Option<Http01Solver>,
    /// Which names the solver is for; all if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Do not check from the cluster that the challenge can be answered: wait this long, as a Go duration, and tell the
    /// server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('0s')", "must not be negative"))]
    pub wait_instead_of_self_check: Option<GoDuration>,
}

/// Which names a solver is for. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// These names, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// These zones with all below; the longest wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_zones: Option<Vec<String>>,
    /// Labels of the Certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// Challenges by HTTP, RFC 8555 section 8.3.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("has(self.ingress) != has(self.gatewayHTTPRoute)", "exactly one of ingress and gatewayHTTPRoute must be set"))]
#[serde(rename_all = "camelCase")]
pub struct Http01Solver {
    /// By an HTTPRoute of the Gateway API.
    #[serde(default, rename = "gatewayHTTPRoute", skip_serializing_if = "Option::is_none")]
    pub gateway_http_route: Option<GatewaySolver>,
    /// By an Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSolver>,
}

/// How a challenge is reached by an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("[has(self.class) && self.class != '', has(self.ingressClassName) && self.ingressClassName != '', has(self.name) && self.name != ''].filter(it, it).size() <= 1", "only one of 'ingressClassName', 'name' or 'class' should be specified"))]
#[serde(rename_all = "camelCase")]
pub struct IngressSolver {
    /// The class of the challenge's Ingress, as annotation "kubernetes.io/ingress.class".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub class: Option<String>,
    /// The class of the challenge's Ingress, as "spec.ingressClassName".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub ingress_class_name: Option<String>,
    /// Labels and annotations of the challenge's Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_template: Option<IngressTemplate>,
    /// An Ingress that is there already, to which the challenge's path is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Kept for others: this operator makes no Pod for a challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Preserved>,
    /// Type of the challenge's Service: ClusterIP or NodePort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("self in ['', 'ClusterIP', 'NodePort']", "must be empty, \"ClusterIP\" or \"NodePort\""))]
    pub service_type: Option<String>,
}

/// Labels and annotations of a challenge's Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressTemplate {
    /// What is added to those that every one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
}

/// Labels and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// How a challenge is reached by an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySolver {
    /// Labels of the challenge's HTTPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// What the HTTPRoute attaches to; the Gateway that the Certificate is made for if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// Kept for others: this operator makes no Pod for a challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Preserved>,
    /// Type of the challenge's Service: ClusterIP or NodePort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("self in ['', 'ClusterIP', 'NodePort']", "must be empty, \"ClusterIP\" or \"NodePort\""))]
    pub service_type: Option<String>,
}

/// What a route attaches to. Mirrors `ParentReference` of the Gateway API, without its schema defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// "gateway.networking.k8s.io" if not set; empty for the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// "Gateway" if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; that of the route if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// The port of it; all if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The section of it, such as a listener's name; all if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Type of a challenge, as Challenges name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChallengeType {
    /// By DNS records.
    #[serde(rename = "DNS-01")]
    Dns01,
    /// By HTTP.
    #[default]
    #[serde(rename = "HTTP-01")]
    Http01,
}

impl ChallengeType {
    /// Returns the name that ACME messages use for this type (RFC 8555 section 9.7.8).
    ///
    /// ```
    /// use crds::acme::ChallengeType;
    ///
    /// assert_eq!(ChallengeType::Http01.acme_name(), "http-01");
    /// assert_eq!(ChallengeType::from_acme_name("http-01"), Some(ChallengeType::Http01));
    /// assert_eq!(ChallengeType::from_acme_name("tls-alpn-01"), None);
    /// ```
    pub const fn acme_name(self) -> &'static str {
        match self {
            Self::Dns01 => "dns-01",
            Self::Http01 => "http-01",
        }
    }

    /// Returns the type with a name from an ACME message; `None` for types that no Challenge has.
    pub fn from_acme_name(name: &str) -> Option<Self> {
        [Self::Dns01, Self::Http01].into_iter().find(|type_| type_.acme_name() == name)
    }
}
