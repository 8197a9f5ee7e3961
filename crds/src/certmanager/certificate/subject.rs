//! The subject of a certificate, its otherName names, and the name constraints of a CA certificate.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The subject of a certificate, except for its common name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// Countries (C) of the subject, as two-letter codes such as "US".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub countries: Option<Vec<String>>,
    /// Localities (L) of the subject, such as cities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localities: Option<Vec<String>>,
    /// Organizational units (OU) of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizational_units: Option<Vec<String>>,
    /// Organizations (O) of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organizations: Option<Vec<String>>,
    /// Postal codes of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postal_codes: Option<Vec<String>>,
    /// States or provinces (ST) of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provinces: Option<Vec<String>>,
    /// Serial number of the subject. This is not the serial number of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// Street addresses (STREET) of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub street_addresses: Option<Vec<String>>,
}

/// A name of a type that an object identifier (OID) defines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtherName {
    /// Type of the name, as an object identifier (OID) in dotted notation such as "1.3.6.1.4.1.311.20.2.3".
    /// Must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub oid: Option<String>,
    /// Value of the name. Must be set and not empty.
    #[serde(default, rename = "utf8Value", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub utf8_value: Option<String>,
}

/// Names that a CA certificate may or may not issue certificates for. At least one of permitted and excluded
/// must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameConstraints {
    /// Whether the extension is critical: software that does not support it must then reject the certificate.
    /// Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<bool>,
    /// Names that the CA must not issue certificates for. Takes precedence over permitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<NameConstraintItem>,
    /// Names that the CA may issue certificates for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permitted: Option<NameConstraintItem>,
}

/// Names to permit or to exclude, by type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameConstraintItem {
    /// DNS domains. Each one covers its own name and all names below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_domains: Option<Vec<String>>,
    /// Email addresses, or domains that cover all their email addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_addresses: Option<Vec<String>>,
    /// IP address ranges in CIDR notation such as "192.0.2.0/24", at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(max = 64)))]
    #[x_kube(validation = ("self.all(it, isCIDR(it))", "each must be an IP address range in CIDR notation, such as \"192.0.2.0/24\""))]
    pub ip_ranges: Option<Vec<String>>,
    /// Host names in URIs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri_domains: Option<Vec<String>>,
}
