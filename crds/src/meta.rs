//! References between objects.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::GROUP;

/// The kind of an issuer reference that does not specify one.
pub const DEFAULT_ISSUER_KIND: &str = "Issuer";

/// The kind of issuers that serve all namespaces.
pub const CLUSTER_ISSUER_KIND: &str = "ClusterIssuer";

/// A reference to an issuer. Mirrors cert-manager's `meta/v1` `IssuerReference`.
///
/// References with different fields can identify the same issuer, because kind and group have defaults.
/// Compare [`IssuerRef::identity`], not the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// API group of the issuer. Defaults to "cert-manager.io" if unset or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// Kind of the issuer: "Issuer", "ClusterIssuer", or a kind of another API group. Defaults to "Issuer" if
    /// unset or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kind: Option<String>,
    /// Name of the issuer. An Issuer must be in the same namespace.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// The issuer that an [`IssuerRef`] refers to, with defaults applied, for comparing references. An absent or
/// empty kind is `Issuer`, and an absent or empty group is `cert-manager.io`.
///
/// ```
/// use crds::meta::IssuerRef;
///
/// let short = IssuerRef { name: "ca".into(), ..IssuerRef::default() };
/// let long = IssuerRef {
///     name: "ca".into(),
///     kind: Some("Issuer".into()),
///     group: Some("cert-manager.io".into()),
/// };
/// assert_ne!(short, long);
/// assert_eq!(short.identity(), long.identity());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerIdentity<'a> {
    /// The API group; never empty.
    pub group: &'a str,
    /// The kind; never empty.
    pub kind: &'a str,
    /// The name, unchanged.
    pub name: &'a str,
}

impl IssuerRef {
    /// Returns the issuer that the reference refers to.
    pub fn identity(&self) -> IssuerIdentity<'_> {
        IssuerIdentity {
            group: or_default(self.group.as_deref(), GROUP),
            kind: or_default(self.kind.as_deref(), DEFAULT_ISSUER_KIND),
            name: &self.name,
        }
    }
}

fn or_default<'a>(value: Option<&'a str>, default: &'static str) -> &'a str {
    value.filter(|value| !value.is_empty()).unwrap_or(default)
}

/// A reference to one entry of a Secret. Mirrors cert-manager's `meta/v1` `SecretKeySelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeySelector {
    /// Key of the value in the Secret's data. Its default, if any, depends on the field that refers to the
    /// Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub key: Option<String>,
    /// Name of the Secret. It must be in the namespace of the object or, for a ClusterIssuer, in the
    /// operator's cluster resource namespace.
    #[schemars(length(max = 253))]
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_kind_and_group_mean_the_default() {
        let reference = |group: Option<&str>, kind: Option<&str>| IssuerRef {
            group: group.map(Into::into),
            kind: kind.map(Into::into),
            name: "x".into(),
        };
        let plain = reference(None, None);
        for equivalent in [
            reference(Some(""), Some("")),
            reference(Some(GROUP), None),
            reference(None, Some(DEFAULT_ISSUER_KIND)),
            reference(Some(GROUP), Some(DEFAULT_ISSUER_KIND)),
        ] {
            assert_eq!(plain.identity(), equivalent.identity());
        }
        for other in [reference(None, Some(CLUSTER_ISSUER_KIND)), reference(Some("example.test"), None)] {
            assert_ne!(plain.identity(), other.identity());
        }
    }
}
