//! CertificateRequest: one certificate signing request (CSR), its approval, and its result.

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

/// A CertificateRequest asks an issuer to sign a certificate signing request (CSR). Its spec is immutable and
/// identifies the user who created it. The operator creates one for each issuance of a Certificate.
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
    validation = Rule::new("self.spec == oldSelf.spec").message("cannot change spec after creation: create a new CertificateRequest instead"),
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
    /// Requested lifetime of the certificate, as a Go duration such as "2160h". The issuer may choose a
    /// different lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<GoDuration>,
    /// Extra attributes of the user who created the CertificateRequest. Set and verified in the same way as
    /// username.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<BTreeMap<String, Vec<String>>>,
    /// Groups of the user who created the CertificateRequest. Set and verified in the same way as username.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub groups: Option<Vec<String>>,
    /// Whether to request a CA certificate. Must match the CSR. Defaults to false.
    #[serde(default, rename = "isCA", skip_serializing_if = "Option::is_none")]
    pub is_ca: Option<bool>,
    /// The issuer that signs the certificate.
    #[x_kube(validation = ("self.name != ''", "issuerRef.name must be specified"))]
    pub issuer_ref: IssuerRef,
    /// The CSR as a single PEM block, base64-encoded in JSON.
    #[schemars(schema_with = "crate::schema::bytes")]
    pub request: ByteString,
    /// UID of the user who created the CertificateRequest. Set and verified in the same way as username.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Key usages and extended key usages of the certificate, at most 100. Must match the CSR. Defaults to
    /// "digital signature" and "key encipherment".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub usages: Option<Vec<KeyUsage>>,
    /// Name of the user who created the CertificateRequest, as authenticated by the API server. If empty, it
    /// is set when the object is created, on Kubernetes 1.36 and later. The name of a different user is
    /// rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

impl HasConditions for CertificateRequest {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }
}

/// Most recently observed status of the CertificateRequest. Approvers write the conditions "Approved" and
/// "Denied"; the request controller writes everything else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestStatus {
    /// PEM-encoded certificate of the CA, base64-encoded in JSON. ACME issuers never set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub ca: Option<ByteString>,
    /// PEM-encoded certificate chain, leaf first, base64-encoded in JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::bytes")]
    pub certificate: Option<ByteString>,
    /// Conditions of the CertificateRequest. "Approved" and "Denied" record the decision of an approver and
    /// cannot be changed. "Ready" is True once the certificate has been issued. "InvalidRequest" is True if
    /// the CSR does not match the spec.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::schema::null_as_empty"
    )]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Time at which the CertificateRequest failed permanently, in UTC with a resolution of one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<Time>,
}
