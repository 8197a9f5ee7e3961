//! Solvers for challenges: configured in an issuer and copied into each Challenge.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Preserved, duration::GoDuration};

/// A solver for challenges. Exactly one of http01 and dns01 must be set.
// Mirrors cert-manager's `ACMEChallengeSolver` (`acme/v1`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("has(self.http01) || has(self.dns01)", "no solver type configured: set http01 or dns01"))]
#[x_kube(validation = ("!has(self.http01) || !has(self.dns01)", "only one of http01 and dns01 may be set"))]
#[serde(rename_all = "camelCase")]
pub struct Solver {
    /// Solves DNS-01 challenges (RFC 8555 section 8.4). Preserved without validation for other controllers;
    /// this operator does not solve DNS-01 challenges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns01: Option<Preserved>,
    /// Solves HTTP-01 challenges (RFC 8555 section 8.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http01: Option<Http01Solver>,
    /// Restricts the names and Certificates that the solver is used for. All of its fields that are set must
    /// match. By default, the solver is used for every name that no more specific solver matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Time to wait after presenting the challenge, as a Go duration, before the ACME server is notified. It
    /// replaces the self-check, which verifies from inside the cluster that the challenge can be answered.
    /// "0s" notifies the server immediately. Must not be negative. By default, the self-check is performed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('0s')", "must not be negative"))]
    pub wait_instead_of_self_check: Option<GoDuration>,
}

/// Restricts the names and Certificates that a solver is used for. All fields that are set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Exact DNS names, including the "*." of a wildcard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// DNS zones. Each one matches its own name and all names below it. If several solvers match, the one
    /// with the longest zone is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_zones: Option<Vec<String>>,
    /// Labels that the Certificate must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// How HTTP-01 challenges are routed to the solver. Exactly one of ingress and gatewayHTTPRoute must be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("has(self.ingress) != has(self.gatewayHTTPRoute)", "exactly one of ingress and gatewayHTTPRoute must be set"))]
#[serde(rename_all = "camelCase")]
pub struct Http01Solver {
    /// Routes challenges with an HTTPRoute of the Gateway API.
    #[serde(default, rename = "gatewayHTTPRoute", skip_serializing_if = "Option::is_none")]
    pub gateway_http_route: Option<GatewaySolver>,
    /// Routes challenges with an Ingress. At most one of class, ingressClassName, and name may be set. If
    /// none is set, an Ingress without a class is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSolver>,
}

/// Settings of the Ingress that routes a challenge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("[has(self.class) && self.class != '', has(self.ingressClassName) && self.ingressClassName != '', has(self.name) && self.name != ''].filter(it, it).size() <= 1", "only one of 'ingressClassName', 'name' or 'class' should be specified"))]
#[serde(rename_all = "camelCase")]
pub struct IngressSolver {
    /// Class of the Ingress, which is set as the annotation "kubernetes.io/ingress.class". Prefer
    /// ingressClassName if the ingress controller supports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub class: Option<String>,
    /// Class of the Ingress, which is set as its spec.ingressClassName.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub ingress_class_name: Option<String>,
    /// Additional labels and annotations for the Ingress. Ignored if name is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_template: Option<IngressTemplate>,
    /// Name of an existing Ingress, in the namespace of the Certificate, to which the challenge's path is
    /// added until the challenge is completed. By default, a new Ingress is created for each challenge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Preserved without validation for other controllers. This operator does not create Pods for challenges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Preserved>,
    /// Type of the Service that the challenge is routed to: "ClusterIP" or "NodePort". Defaults to
    /// "ClusterIP".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("self in ['', 'ClusterIP', 'NodePort']", "must be empty, \"ClusterIP\", or \"NodePort\""))]
    pub service_type: Option<String>,
}

/// Additional labels and annotations for the Ingress that routes a challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressTemplate {
    /// Labels and annotations to add to those that the operator sets. The operator's values take precedence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
}

/// Labels and annotations to add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Annotations to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// Settings of the HTTPRoute that routes a challenge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySolver {
    /// Labels to set on the HTTPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Resources that the HTTPRoute attaches to, usually Gateways, at most 32. The Gateway or ListenerSet that
    /// the Certificate was created for is added to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub parent_refs: Option<Vec<ParentReference>>,
    /// Preserved without validation for other controllers. This operator does not create Pods for challenges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Preserved>,
    /// Type of the Service that the challenge is routed to: "ClusterIP" or "NodePort". Defaults to
    /// "ClusterIP".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("self in ['', 'ClusterIP', 'NodePort']", "must be empty, \"ClusterIP\", or \"NodePort\""))]
    pub service_type: Option<String>,
}

/// A resource that a route attaches to, usually a Gateway.
// Mirrors `ParentReference` of the Gateway API, without its schema defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// API group of the resource. An empty string is the core group. Defaults to "gateway.networking.k8s.io".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// Kind of the resource. Defaults to "Gateway".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,
    /// Name of the resource.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the resource. Defaults to the namespace of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Port of the resource. Defaults to all ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Section of the resource, such as the name of a listener. Defaults to all sections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Type of a challenge, as named in the Kubernetes API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChallengeType {
    /// A DNS record proves control of the name (RFC 8555 section 8.4).
    #[serde(rename = "DNS-01")]
    Dns01,
    /// An HTTP response proves control of the name (RFC 8555 section 8.3).
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
