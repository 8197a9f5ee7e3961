//! CertificateRequest: one CSR, and what became of it.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::KeyUsage;
use crate::{
    condition::{Condition, HasConditions},
    duration::GoDuration,
    meta::IssuerRef,
};

/// A request for one certificate. It can't change; who asked is stamped on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "CertificateRequest",
    plural = "certificaterequests",
    singular = "certificaterequest",
    shortname = "cr",
    shortname = "crs",
    category = "cert-manager",
    namespaced,
    status = "CertificateRequestStatus",
    derive = "PartialEq",
    selectable = ".spec.issuerRef.group",
    selectable = ".spec.issuerRef.kind",
    selectable = ".spec.issuerRef.name",
    validation = Rule::new("self.spec == oldSelf.spec").message("cannot change spec after creation: make another CertificateRequest"),
    printcolumn(name = "Approved", type_ = "string", json_path = r#".status.conditions[?(@.type == "Approved")].status"#),
    printcolumn(name = "Denied", type_ = "string", json_path = r#".status.conditions[?(@.type == "Denied")].status"#),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type == "Ready")].status"#),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".spec.issuerRef.name"),
    printcolumn(name = "Requester", type_ = "string", json_path = ".spec.username"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type == "Ready")].message"#,
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestSpec {
    /// How long the certificate shall be valid, as a Go duration. The issuer may give less or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// Further attributes of who asked, as the API server knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<BTreeMap<String, Vec<String>>>,
    /// The groups of who asked, as the API server knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub groups: Option<Vec<String>>,
    /// Whether the certificate shall be a CA. Must agree with the CSR.
    #[serde(default, rename = "isCA", skip_serializing_if = "Option::is_none")]
    pub is_ca: Option<bool>,
    /// Who shall sign.
    #[x_kube(validation = ("self.name != ''", "issuerRef.name must be specified"))]
    pub issuer_ref: IssuerRef,
    /// The CSR: PEM, one block, base64 in JSON.
    #[schemars(schema_with = "crate::schema::bytes")]
    pub request: ByteString,
    /// The UID of who asked, as the API server knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// What the certificate may be used for; "digital signature" and "key encipherment" if not set. Must agree with the
    /// CSR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub usages: Option<Vec<KeyUsage>>,
    /// The name of who asked, as the API server knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

impl HasConditions for CertificateRequest {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }
}

/// What became of a request. `Approved` and `Denied` are written by approvers, the rest by the request controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestStatus {
    /// The certificate of the CA, PEM, base64 in JSON. ACME issuers never set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub ca: Option<ByteString>,
    /// The chain, PEM, leaf first, base64 in JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub certificate: Option<ByteString>,
    /// `Ready`, `Approved`, `Denied` and `InvalidRequest`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::schema::null_is_empty"
    )]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// When the request failed for good, UTC, whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<Time>,
}
