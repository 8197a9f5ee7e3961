//! Certificate: what a Secret shall hold.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    duration::GoDuration,
    meta::{IssuerRef, SecretKeySelector},
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

/// A further form of key and chain in the Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdditionalOutputFormat {
    /// Which.
    #[serde(rename = "type")]
    pub type_: OutputFormat,
}

/// Which further form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OutputFormat {
    /// `tls-combined.pem`: private key, newline, chain.
    CombinedPEM,
    /// `key.der`: the private key in DER.
    DER,
}

/// Key stores in the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Keystores {
    /// Java key stores, `keystore.jks` and `truststore.jks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("!self.create || (has(self.password) && self.password != '') != has(self.passwordSecretRef)", "needs exactly one of password and passwordSecretRef"))]
    pub jks: Option<JksKeystore>,
    /// PKCS#12 key stores, `keystore.p12` and `truststore.p12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("!self.create || (has(self.password) && self.password != '') != has(self.passwordSecretRef)", "needs exactly one of password and passwordSecretRef"))]
    pub pkcs12: Option<Pkcs12Keystore>,
}

/// A Java key store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JksKeystore {
    /// The alias of the key; "certificate" if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Whether to make it.
    pub create: bool,
    /// The password, as it is. Better name a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub password: Option<String>,
    /// The Secret that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
}

/// A PKCS#12 key store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pkcs12Keystore {
    /// Whether to make it.
    pub create: bool,
    /// The password, as it is. Better name a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub password: Option<String>,
    /// The Secret that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeySelector>,
    /// How it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Pkcs12Profile>,
}

/// How the PKCS#12 key store is encrypted; LegacyRC2 if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pkcs12Profile {
    /// 3DES and SHA-1: what OpenSSL 1 and old Javas read.
    LegacyDES,
    /// RC2 and SHA-1: what everything reads, and nothing should use.
    LegacyRC2,
    /// AES-256 and SHA-256.
    Modern2023,
    /// AES-256 and SHA-256, with PBMAC1.
    Modern2026,
}

/// Which names a CA may sign for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameConstraints {
    /// Whether who does not understand the extension must refuse the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<bool>,
    /// Names it may not sign for; stronger than permitted ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<NameConstraintItem>,
    /// Names it may sign for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permitted: Option<NameConstraintItem>,
}

/// Names by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameConstraintItem {
    /// DNS names, each with all below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_domains: Option<Vec<String>>,
    /// E-mail addresses, or domains of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_addresses: Option<Vec<String>>,
    /// Ranges of IP addresses, such as "192.0.2.0/24".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(max = 64)))]
    #[x_kube(validation = ("self.all(it, isCIDR(it))", "each must be a range such as \"192.0.2.0/24\""))]
    pub ip_ranges: Option<Vec<String>>,
    /// Hosts of URIs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri_domains: Option<Vec<String>>,
}

/// A name of a kind that X.509 leaves to others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtherName {
    /// What kind, as dotted numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub oid: Option<String>,
    /// The name.
    #[serde(default, rename = "utf8Value", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub utf8_value: Option<String>,
}

/// What a private key shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!has(self.size) || self.size == 0 || (has(self.algorithm) && self.algorithm != 'RSA') || (self.size >= 2048 && self.size <= 8192)", "size must be between 2048 and 8192 for algorithm RSA"))]
#[x_kube(validation = ("!has(self.size) || !has(self.algorithm) || self.algorithm != 'ECDSA' || self.size in [0, 256, 384, 521]", "size must be 256, 384 or 521 for algorithm ECDSA"))]
#[serde(rename_all = "camelCase")]
pub struct CertificatePrivateKey {
    /// Which algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<KeyAlgorithm>,
    /// How it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<KeyEncoding>,
    /// When it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_policy: Option<RotationPolicy>,
    /// In bits: RSA 2048 to 8192, 2048 if not set; ECDSA 256, 384 or 521, 256 if not set; ignored for Ed25519.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,
}

/// Algorithm of the private key; RSA if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// Elliptic curves of NIST.
    ECDSA,
    /// RFC 8032. No public CA takes it yet.
    Ed25519,
    /// The default.
    RSA,
}

/// How the private key is written in PEM; PKCS1 if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyEncoding {
    /// `RSA PRIVATE KEY`, or `EC PRIVATE KEY` (SEC 1) for ECDSA. Ed25519 is written as PKCS8 all the same.
    PKCS1,
    /// `PRIVATE KEY`.
    PKCS8,
}

/// When the private key changes; Always if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationPolicy {
    /// With every issuance.
    Always,
    /// Never: the key in the Secret is used as long as it fits the spec.
    Never,
}

/// When renewal happens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// Whether it happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<RenewalPolicy>,
    /// Only within one of these windows, unless the certificate would end before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub windows: Option<Vec<RenewalWindow>>,
}

/// Whether renewal happens; RenewBefore if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RenewalPolicy {
    /// Never by itself.
    Disabled,
    /// In time before the end.
    RenewBefore,
}

/// A time that comes again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewalWindow {
    /// When it begins, as five cron fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub cron: Option<String>,
    /// In which IANA time zone; UTC if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub timezone: Option<String>,
    /// How long it lasts, as a Go duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_duration: Option<GoDuration>,
}

/// Labels and annotations of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Annotations; keys under "cert-manager.io/" are ours, but for cert-manager.io/allow-direct-injection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 1000))]
    #[x_kube(validation = ("self.all(key, !key.startsWith('cert-manager.io/') || key == 'cert-manager.io/allow-direct-injection')", "keys under cert-manager.io/ are not allowed, but for cert-manager.io/allow-direct-injection"))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// How the CSR is signed; what suits the key if not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureAlgorithm {
    /// ECDSA over SHA-256.
    ECDSAWithSHA256,
    /// ECDSA over SHA-384.
    ECDSAWithSHA384,
    /// ECDSA over SHA-512.
    ECDSAWithSHA512,
    /// Ed25519, RFC 8032.
    PureEd25519,
    /// RSA PKCS#1 v1.5 over SHA-256.
    SHA256WithRSA,
    /// RSA PKCS#1 v1.5 over SHA-384.
    SHA384WithRSA,
    /// RSA PKCS#1 v1.5 over SHA-512.
    SHA512WithRSA,
}

/// The subject but for its common name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// C.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub countries: Option<Vec<String>>,
    /// L.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localities: Option<Vec<String>>,
    /// OU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizational_units: Option<Vec<String>>,
    /// O.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizations: Option<Vec<String>>,
    /// Postal codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_codes: Option<Vec<String>>,
    /// ST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provinces: Option<Vec<String>>,
    /// The serial number of the subject, not of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// STREET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub street_addresses: Option<Vec<String>>,
}

/// What a certificate may be used for: key usages and extended key usages of RFC 5280 in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyUsage {
    /// The same as [`KeyUsage::DigitalSignature`].
    Signing,
    /// digitalSignature.
    #[serde(rename = "digital signature")]
    DigitalSignature,
    /// contentCommitment, once nonRepudiation.
    #[serde(rename = "content commitment")]
    ContentCommitment,
    /// keyEncipherment.
    #[serde(rename = "key encipherment")]
    KeyEncipherment,
    /// keyAgreement.
    #[serde(rename = "key agreement")]
    KeyAgreement,
    /// dataEncipherment.
    #[serde(rename = "data encipherment")]
    DataEncipherment,
    /// keyCertSign.
    #[serde(rename = "cert sign")]
    CertSign,
    /// cRLSign.
    #[serde(rename = "crl sign")]
    CrlSign,
    /// encipherOnly.
    #[serde(rename = "encipher only")]
    EncipherOnly,
    /// decipherOnly.
    #[serde(rename = "decipher only")]
    DecipherOnly,
    /// anyExtendedKeyUsage.
    Any,
    /// id-kp-serverAuth.
    #[serde(rename = "server auth")]
    ServerAuth,
    /// id-kp-clientAuth.
    #[serde(rename = "client auth")]
    ClientAuth,
    /// id-kp-codeSigning.
    #[serde(rename = "code signing")]
    CodeSigning,
    /// id-kp-emailProtection.
    #[serde(rename = "email protection")]
    EmailProtection,
    /// The same as [`KeyUsage::EmailProtection`].
    #[serde(rename = "s/mime")]
    SMime,
    /// id-kp-ipsecEndSystem.
    #[serde(rename = "ipsec end system")]
    IpsecEndSystem,
    /// id-kp-ipsecTunnel.
    #[serde(rename = "ipsec tunnel")]
    IpsecTunnel,
    /// id-kp-ipsecUser.
    #[serde(rename = "ipsec user")]
    IpsecUser,
    /// id-kp-timeStamping.
    Timestamping,
    /// id-kp-OCSPSigning.
    #[serde(rename = "ocsp signing")]
    OcspSigning,
    /// Microsoft server-gated crypto.
    #[serde(rename = "microsoft sgc")]
    MicrosoftSgc,
    /// Netscape server-gated crypto.
    #[serde(rename = "netscape sgc")]
    NetscapeSgc,
}

/// What is known of a Certificate. Written by the certificate controller alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// What the ACME server says of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<CertificateAcmeStatus>,
    /// `Ready` and `Issuing`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::schema::null_is_empty"
    )]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// How many issuances in a row have failed; not set after one that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_issuance_attempts: Option<i64>,
    /// When the last issuance failed, UTC, whole seconds; not set after one that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Time>,
    /// The Secret with the key of the issuance that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_private_key_secret_name: Option<String>,
    /// The end of the certificate in the Secret, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// The beginning of the certificate in the Secret, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// When it will be renewed, UTC, whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// How many issuances have succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}

/// What an ACME server says of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAcmeStatus {
    /// Renewal information, RFC 9773.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ari: Option<RenewalInformation>,
}

/// When an ACME server suggests to renew, RFC 9773 section 4.2.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewalInformation {
    /// A page that says why, if the server has one.
    #[serde(default, rename = "explanationURL", skip_serializing_if = "Option::is_none")]
    pub explanation_url: Option<String>,
    /// When the server was asked last, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checked: Option<Time>,
    /// Why the last question had no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it will be asked again, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Time>,
    /// The time in which to renew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggested_window: Option<SuggestedWindow>,
}

/// A time in which to renew: `start` belongs to it, `end` does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuggestedWindow {
    /// UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
    /// UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
}
