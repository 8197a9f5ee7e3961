//! References between objects.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::GROUP;

/// The kind of an issuer that names none.
pub const DEFAULT_ISSUER_KIND: &str = "Issuer";

/// The kind of an issuer that serves all namespaces.
pub const CLUSTER_ISSUER_KIND: &str = "ClusterIssuer";

/// Which issuer is meant. Mirrors upstream's `meta/v1` `IssuerReference`.
///
/// Two references that are written differently may mean the same issuer: compare [`IssuerRef::identity`], never the
/// fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Group of the issuer. If not set or empty, "cert-manager.io".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// Kind of the issuer. If not set or empty, "Issuer".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kind: Option<String>,
    /// Name of the issuer: in the same namespace for an Issuer, anywhere for a ClusterIssuer.
    #[schemars(length(max = 253))]
    pub name: String,
}

/// What an [`IssuerRef`] means: the one way to compare two of them. An absent or empty kind is `Issuer`, an absent or
/// empty group is `cert-manager.io`.
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
    /// Never empty.
    pub group: &'a str,
    /// Never empty.
    pub kind: &'a str,
    /// As written.
    pub name: &'a str,
}

impl IssuerRef {
    /// What the reference means.
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

/// A key of a Secret. Mirrors upstream's `meta/v1` `SecretKeySelector`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeySelector {
    /// Which of the Secret's data. What is used if it is not set depends on the field that refers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub key: Option<String>,
    /// Name of the Secret: in the same namespace, or in the operator's for a ClusterIssuer.
    #[schemars(length(max = 253))]
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_kind_or_group_means_the_default() {
        let reference = |group: Option<&str>, kind: Option<&str>| IssuerRef {
            group: group.map(Into::into),
            kind: kind.map(Into::into),
            name: "x".into(),
        };
        let plain = reference(None, None);
        for same in [
            reference(Some(""), Some("")),
            reference(Some(GROUP), None),
            reference(None, Some(DEFAULT_ISSUER_KIND)),
            reference(Some(GROUP), Some(DEFAULT_ISSUER_KIND)),
        ] {
            assert_eq!(plain.identity(), same.identity());
        }
        for other in [reference(None, Some(CLUSTER_ISSUER_KIND)), reference(Some("example.test"), None)] {
            assert_ne!(plain.identity(), other.identity());
        }
    }
}
