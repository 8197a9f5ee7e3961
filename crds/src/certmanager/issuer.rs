//! Issuer and ClusterIssuer: the sources of certificates.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    Preserved,
    acme::{AcmeIssuer, AcmeIssuerStatus},
    condition::{Condition, HasConditions},
};

macro_rules! issuer_kind {
    ($(#[$doc:meta])* $spec:ident, $issuer:ident, $kind:literal, $plural:literal, $singular:literal, $short:literal $(, $scope:ident)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
        #[kube(
            group = "cert-manager.io",
            version = "v1",
            kind = $kind,
            plural = $plural,
            singular = $singular,
            shortname = $short,
            category = "cert-manager",
            status = "IssuerStatus",
            derive = "PartialEq",
            $($scope,)?
            printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type == "Ready")].status"#),
            printcolumn(
                name = "Status",
                type_ = "string",
                json_path = r#".status.conditions[?(@.type == "Ready")].message"#,
                priority = 1
            ),
            printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
        )]
        #[x_kube(validation = ("[has(self.acme), has(self.ca), has(self.selfSigned), has(self.vault), has(self.venafi)].exists(it, it)", "at least one issuer must be configured: acme, ca, selfSigned, vault, or venafi"))]
        #[x_kube(validation = ("[has(self.acme), has(self.ca), has(self.selfSigned), has(self.vault), has(self.venafi)].filter(it, it).size() <= 1", "may not specify more than one issuer type: choose one of acme, ca, selfSigned, vault, and venafi"))]
        #[serde(rename_all = "camelCase")]
        pub struct $spec {
            /// Obtains certificates from an ACME server (RFC 8555).
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub acme: Option<AcmeIssuer>,
            /// Signs certificates with the key of a CA in a Secret. Preserved without validation for other
            /// controllers; this operator ignores it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub ca: Option<Preserved>,
            /// Signs each certificate with its own private key. Preserved without validation for other
            /// controllers; this operator ignores it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub self_signed: Option<Preserved>,
            /// Obtains certificates from HashiCorp Vault. Preserved without validation for other controllers;
            /// this operator ignores it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub vault: Option<Preserved>,
            /// Obtains certificates from CyberArk (Venafi). Preserved without validation for other
            /// controllers; this operator ignores it.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub venafi: Option<Preserved>,
        }

        impl HasConditions for $issuer {
            fn conditions(&self) -> &[Condition] {
                self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
            }
        }
    };
}

issuer_kind!(
    /// An Issuer issues certificates in its own namespace. Exactly one of acme, ca, selfSigned, vault, and
    /// venafi must be set; this operator supports acme only.
    IssuerSpec, Issuer, "Issuer", "issuers", "issuer", "iss", namespaced
);
issuer_kind!(
    /// A ClusterIssuer issues certificates in all namespaces. Exactly one of acme, ca, selfSigned, vault, and
    /// venafi must be set; this operator supports acme only. Secrets that a ClusterIssuer refers to are in
    /// the operator's cluster resource namespace.
    ClusterIssuerSpec, ClusterIssuer, "ClusterIssuer", "clusterissuers", "clusterissuer", "ciss"
);

/// Most recently observed status of the issuer. Only the issuer controller writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerStatus {
    /// ACME account of the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeIssuerStatus>,
    /// Conditions of the issuer. "Ready" is True if the issuer can issue certificates.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::schema::null_as_empty"
    )]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
