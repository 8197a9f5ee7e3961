//! Certificate: what a Secret shall hold.

mod keystores;
mod private_key;
mod renewal;
mod secret;
mod status;
mod subject;
mod usage;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use self::{keystores::*, private_key::*, renewal::*, secret::*, status::*, subject::*, usage::*};
use crate::{
    condition::{Condition, HasConditions},
    duration::GoDuration,
    meta::IssuerRef,
};

/// A certificate that is kept in a Secret, and kept valid.
///
/// At least one name must be asked for. Defaults are applied when they are used, never stored: a default that changes
/// must not change objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Certificate",
    plural = "certificates",
    singular = "certificate",
    shortname = "cert",
    shortname = "certs",
    category = "cert-manager",
    namespaced,
    status = "CertificateStatus",
    derive = "PartialEq",
    selectable = ".spec.issuerRef.group",
    selectable = ".spec.issuerRef.kind",
    selectable = ".spec.issuerRef.name",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type == "Ready")].status"#
    ),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretName"),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".spec.issuerRef.name", priority = 1),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type == "Ready")].message"#,
        priority = 1
    ),
    printcolumn(name = "Expiration", type_ = "string", json_path = ".status.notAfter", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = ("(has(self.commonName) && self.commonName != '') || (has(self.literalSubject) && self.literalSubject.matches('(?i)(^|[,+;])[ ]*cn[ ]*=')) || (has(self.dnsNames) && size(self.dnsNames) > 0) || (has(self.uris) && size(self.uris) > 0) || (has(self.ipAddresses) && size(self.ipAddresses) > 0) || (has(self.emailAddresses) && size(self.emailAddresses) > 0) || (has(self.otherNames) && size(self.otherNames) > 0)", "at least one of commonName (or a CN in literalSubject), dnsNames, uris, ipAddresses, emailAddresses or otherNames must be set"))]
#[x_kube(validation = ("!has(self.literalSubject) || self.literalSubject == '' || (!has(self.subject) && (!has(self.commonName) || self.commonName == ''))", "literalSubject says the whole subject: subject and commonName must not be set with it"))]
#[x_kube(validation = ("!has(self.renewBefore) || !has(self.renewBeforePercentage)", "renewBefore and renewBeforePercentage are mutually exclusive: set one of them"))]
#[x_kube(validation = ("!has(self.renewBefore) || duration(self.renewBefore) < (has(self.duration) ? duration(self.duration) : duration('2160h'))", "renewBefore must be shorter than duration (2160h if not set)"))]
#[x_kube(validation = ("!has(self.nameConstraints) || (has(self.isCA) && self.isCA)", "nameConstraints need isCA: true"))]
#[x_kube(validation = ("!has(self.signatureAlgorithm) || (self.signatureAlgorithm.endsWith('WithRSA') ? 'RSA' : self.signatureAlgorithm == 'PureEd25519' ? 'Ed25519' : 'ECDSA') == (has(self.privateKey) && has(self.privateKey.algorithm) ? self.privateKey.algorithm : 'RSA')", "signatureAlgorithm must suit privateKey.algorithm (RSA if not set)"))]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// Further forms of the private key and the chain in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    #[x_kube(validation = ("self.all(it, self.exists_one(other, other.type == it.type))", "each type may be there once"))]
    pub additional_output_formats: Option<Vec<AdditionalOutputFormat>>,
    /// The common name of the subject, at most 64 bytes. CAs ignore or refuse it more and more: use dnsNames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("size(bytes(self)) <= 64", "must be at most 64 bytes long"))]
    pub common_name: Option<String>,
    /// DNS names, also wildcards such as "*.example.com", as the CA shall see them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// How long the certificate shall be valid, as a Go duration, 1h or longer; 2160h (90 days) if not set. Most ACME
    /// servers give what they give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1h')", "must be 1h or longer"))]
    pub duration: Option<GoDuration>,
    /// E-mail addresses, without names or brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(max = 320)))]
    #[x_kube(validation = ("self.all(it, it.matches('^[^<>@ ,;]+@[^<>@ ,;]+$'))", "each must be a bare e-mail address such as \"admin@example.com\""))]
    pub email_addresses: Option<Vec<String>>,
    /// Whether key usages go into the CSR; true if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encode_usages_in_request: Option<bool>,
    /// IP addresses, version 4 or 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(max = 64)))]
    #[x_kube(validation = ("self.all(it, isIP(it))", "each must be an IP address such as \"192.0.2.1\" or \"2001:db8::1\""))]
    pub ip_addresses: Option<Vec<String>>,
    /// Whether the certificate shall be a CA; false if not set.
    #[serde(default, rename = "isCA", skip_serializing_if = "Option::is_none")]
    pub is_ca: Option<bool>,
    /// Who shall sign.
    #[x_kube(validation = ("self.name != ''", "issuerRef.name must be specified"))]
    #[x_kube(validation = ("(has(self.group) && self.group != '' && self.group != 'cert-manager.io') || !has(self.kind) || self.kind in ['', 'Issuer', 'ClusterIssuer']", "issuerRef.kind must be one of Issuer or ClusterIssuer (did you forget to set spec.issuerRef.group?)"))]
    pub issuer_ref: IssuerRef,
    // In a box like others below: large, seldom there, and controllers hold thousands of Certificates.
    /// Key stores in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keystores: Option<Box<Keystores>>,
    /// The whole subject as an RFC 4514 distinguished name, in its order; excludes subject and commonName.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub literal_subject: Option<String>,
    /// Which names a CA may sign for, RFC 5280 section 4.2.1.10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("has(self.permitted) || has(self.excluded)", "either permitted or excluded must be set"))]
    pub name_constraints: Option<Box<NameConstraints>>,
    /// Other names, RFC 5280 section 4.2.1.6: an OID with a UTF-8 value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    #[x_kube(validation = ("self.all(it, has(it.oid) && it.oid.matches('^[0-2]([.](0|[1-9][0-9]*))+$'))", "each must have an oid such as \"1.3.6.1.4.1.311.20.2.3\""))]
    #[x_kube(validation = ("self.all(it, has(it.utf8Value) && it.utf8Value != '')", "each must have a utf8Value"))]
    pub other_names: Option<Vec<OtherName>>,
    /// What the private key shall be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<CertificatePrivateKey>,
    /// When renewal happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// How long before its end the certificate is renewed, as a Go duration, 5m or longer; a third of its real lifetime
    /// if not set. Where the issuer's ACME server tells when to renew (RFC 9773), that comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('5m')", "must be 5m or longer"))]
    pub renew_before: Option<GoDuration>,
    /// How long before its end the certificate is renewed, in percent of its real lifetime: 25 means when a quarter is
    /// left. Excludes renewBefore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub renew_before_percentage: Option<i32>,
    /// How many CertificateRequests of past issuances are kept; 1 if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub revision_history_limit: Option<i32>,
    /// The Secret that holds chain and key, in the same namespace. If it changes, a certificate is issued into the new
    /// one, and the old one stays.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')", "must be a Secret's name: lower-case letters, digits, '-' and '.'"))]
    pub secret_name: String,
    /// Labels and annotations of the Secret. Those that others put there are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<SecretTemplate>,
    /// How the CSR is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_algorithm: Option<SignatureAlgorithm>,
    /// The subject but for its common name. ACME servers ignore most of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<Subject>>,
    /// URIs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uris: Option<Vec<String>>,
    /// What the certificate may be used for; "digital signature" and "key encipherment" if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usages: Option<Vec<KeyUsage>>,
}

impl HasConditions for Certificate {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }
}
