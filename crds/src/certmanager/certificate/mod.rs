//! Certificate: the certificate that a Secret stores, and how it is issued and renewed.

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

/// A Certificate requests an X.509 certificate from an issuer and stores it, with its private key, in a
/// Secret. The operator issues the certificate, renews it before it expires, and repairs the Secret if its
/// contents no longer match the spec.
///
/// At least one name must be requested. Defaults are applied when the operator uses a field and are never
/// stored in the object, so a default that changes in a new version does not change existing objects.
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
#[x_kube(validation = ("(has(self.commonName) && self.commonName != '') || (has(self.literalSubject) && self.literalSubject.matches('(?i)(^|[,+;])[ ]*cn[ ]*=')) || (has(self.dnsNames) && size(self.dnsNames) > 0) || (has(self.uris) && size(self.uris) > 0) || (has(self.ipAddresses) && size(self.ipAddresses) > 0) || (has(self.emailAddresses) && size(self.emailAddresses) > 0) || (has(self.otherNames) && size(self.otherNames) > 0)", "at least one of commonName (or a CN in literalSubject), dnsNames, uris, ipAddresses, emailAddresses, or otherNames must be set"))]
#[x_kube(validation = ("!has(self.literalSubject) || self.literalSubject == '' || (!has(self.subject) && (!has(self.commonName) || self.commonName == ''))", "literalSubject is mutually exclusive with subject and commonName: remove literalSubject, or remove both of them"))]
#[x_kube(validation = ("!has(self.renewBefore) || !has(self.renewBeforePercentage)", "renewBefore and renewBeforePercentage are mutually exclusive: set only one of them"))]
#[x_kube(validation = ("!has(self.renewBefore) || duration(self.renewBefore) < (has(self.duration) ? duration(self.duration) : duration('2160h'))", "renewBefore must be shorter than duration (default 2160h)"))]
#[x_kube(validation = ("!has(self.nameConstraints) || (has(self.isCA) && self.isCA)", "nameConstraints requires isCA: true"))]
#[x_kube(validation = ("!has(self.signatureAlgorithm) || (self.signatureAlgorithm.endsWith('WithRSA') ? 'RSA' : self.signatureAlgorithm == 'PureEd25519' ? 'Ed25519' : 'ECDSA') == (has(self.privateKey) && has(self.privateKey.algorithm) ? self.privateKey.algorithm : 'RSA')", "signatureAlgorithm must match privateKey.algorithm (default RSA)"))]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// Additional encodings of the private key and the certificate chain to store in the Secret, next to
    /// "tls.key" and "tls.crt". Each type may be listed only once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    #[x_kube(validation = ("self.all(it, self.exists_one(other, other.type == it.type))", "each type may be listed only once"))]
    pub additional_output_formats: Option<Vec<AdditionalOutputFormat>>,
    /// Common name (CN) of the certificate's subject, at most 64 bytes. Clients no longer check it, and CAs
    /// increasingly ignore or reject it: use dnsNames instead. For ACME issuers, dnsNames or ipAddresses must
    /// include it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = ("size(bytes(self)) <= 64", "must be at most 64 bytes long"))]
    pub common_name: Option<String>,
    /// DNS names that the certificate is valid for, including wildcards such as "*.example.com". They are
    /// sent to the CA unchanged, so write them as the CA expects them: in lowercase, with international names
    /// in Punycode. ACME servers validate wildcards with DNS-01 challenges only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// Requested lifetime of the certificate, as a Go duration such as "2160h" (90 days). Must be 1h or
    /// longer. Defaults to 2160h. Most ACME servers choose the lifetime themselves, so ACME issuers request
    /// this lifetime only if they set enableDurationFeature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1h')", "must be 1h or longer"))]
    pub duration: Option<GoDuration>,
    /// Email addresses that the certificate is valid for, without display names or angle brackets, at most
    /// 1000. ACME servers issue for DNS names and IP addresses only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(max = 320)))]
    #[x_kube(validation = ("self.all(it, it.matches('^[^<>@ ,;]+@[^<>@ ,;]+$'))", "each must be an email address without a display name, such as \"admin@example.com\""))]
    pub email_addresses: Option<Vec<String>>,
    /// Whether the certificate signing request (CSR) contains the usages. Defaults to true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encode_usages_in_request: Option<bool>,
    /// IPv4 and IPv6 addresses that the certificate is valid for, at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(max = 64)))]
    #[x_kube(validation = ("self.all(it, isIP(it))", "each must be an IP address, such as \"192.0.2.1\" or \"2001:db8::1\""))]
    pub ip_addresses: Option<Vec<String>>,
    /// Whether to request a CA certificate, which can sign other certificates. Defaults to false.
    #[serde(default, rename = "isCA", skip_serializing_if = "Option::is_none")]
    pub is_ca: Option<bool>,
    /// The issuer that signs this certificate: an Issuer in the same namespace, a ClusterIssuer, or an issuer
    /// of another API group. If it changes, a new certificate is issued.
    #[x_kube(validation = ("self.name != ''", "issuerRef.name must be specified"))]
    #[x_kube(validation = ("(has(self.group) && self.group != '' && self.group != 'cert-manager.io') || !has(self.kind) || self.kind in ['', 'Issuer', 'ClusterIssuer']", "issuerRef.kind must be one of Issuer or ClusterIssuer (did you forget to set spec.issuerRef.group?)"))]
    pub issuer_ref: IssuerRef,
    // Large, rarely set fields are boxed because controllers keep thousands of Certificates in memory.
    /// Password-protected keystores to store in the Secret, for programs that cannot read PEM files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keystores: Option<Box<Keystores>>,
    /// Complete subject of the certificate as a distinguished name in the string format of RFC 4514, such as
    /// "CN=example.com,O=Example". The order of its attributes is preserved. At most 4096 characters.
    /// Mutually exclusive with subject and commonName.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub literal_subject: Option<String>,
    /// Names that this CA certificate may or may not issue certificates for (RFC 5280 section 4.2.1.10).
    /// Requires isCA: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("has(self.permitted) || has(self.excluded)", "either permitted or excluded must be set"))]
    pub name_constraints: Option<Box<NameConstraints>>,
    /// Subject alternative names of other types (otherName in RFC 5280 section 4.2.1.6), each an object
    /// identifier (OID) with a UTF-8 value, at most 1000. ACME servers issue for DNS names and IP addresses
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    #[x_kube(validation = ("self.all(it, has(it.oid) && it.oid.matches('^[0-2]([.](0|[1-9][0-9]*))+$'))", "each must have an oid, such as \"1.3.6.1.4.1.311.20.2.3\""))]
    #[x_kube(validation = ("self.all(it, has(it.utf8Value) && it.utf8Value != '')", "each must have a non-empty utf8Value"))]
    pub other_names: Option<Vec<OtherName>>,
    /// Algorithm, size, encoding, and rotation of the private key. By default, every issuance creates a new
    /// 2048-bit RSA key, encoded as PKCS#1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<CertificatePrivateKey>,
    /// Whether the certificate is renewed automatically, and in which maintenance windows. By default, it is
    /// renewed as soon as the renewal is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// Time before the certificate's expiry at which it is renewed, as a Go duration such as "720h". Must be
    /// 5m or longer, and shorter than duration. Defaults to a third of the certificate's actual lifetime,
    /// which is also used if the actual lifetime is not longer than renewBefore. If the issuer's ACME server
    /// provides renewal information (RFC 9773), that takes precedence. Mutually exclusive with
    /// renewBeforePercentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('5m')", "must be 5m or longer"))]
    pub renew_before: Option<GoDuration>,
    /// Time before the certificate's expiry at which it is renewed, as a percentage of its actual lifetime,
    /// from 1 to 99. For example, 25 renews it when a quarter of the lifetime is left. If the issuer's ACME
    /// server provides renewal information (RFC 9773), that takes precedence. Mutually exclusive with
    /// renewBefore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub renew_before_percentage: Option<i32>,
    /// Number of CertificateRequests to keep, including the one for the current certificate; older ones are
    /// deleted. Must be 1 or greater; more than 100 count as 100. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub revision_history_limit: Option<i32>,
    /// Name of the Secret, in the same namespace, that stores the certificate chain and the private key. The
    /// operator creates it if necessary. If the name changes, a certificate is issued into the new Secret,
    /// and the old Secret is kept.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')", "must be a valid Secret name: lowercase letters, digits, '-', and '.', starting and ending with a letter or digit"))]
    pub secret_name: String,
    /// Labels and annotations to set on the Secret. Labels and annotations from other sources are preserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<SecretTemplate>,
    /// Algorithm that signs the certificate signing request (CSR).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_algorithm: Option<SignatureAlgorithm>,
    /// Subject of the certificate, except for its common name. ACME servers ignore most of it. Mutually
    /// exclusive with literalSubject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<Subject>>,
    /// URIs that the certificate is valid for, such as "spiffe://cluster.local/ns/web/sa/web". ACME servers
    /// issue for DNS names and IP addresses only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uris: Option<Vec<String>>,
    /// Key usages and extended key usages of the certificate. Defaults to "digital signature" and "key
    /// encipherment".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usages: Option<Vec<KeyUsage>>,
}

impl HasConditions for Certificate {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }
}
