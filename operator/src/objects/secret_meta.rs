//! The cached part of a watched Secret. There is a Secret per Certificate, so it is small.
//!
//! Knows metadata only; must not hold data, labels or annotations, which are read on demand. Next: `secret.rs`.

use std::borrow::Cow;

use crds::{annotations::secret, certmanager::Certificate};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry};
use kube::{Resource, api::ObjectMeta, runtime::reflector::Lookup};

use super::{metadata::controller_of_kind, secret::FIELD_MANAGER};

/// Owner and resourceVersion of a watched Secret; everything else is read on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMeta {
    namespace: Box<str>,
    name: Box<str>,
    /// The resourceVersion; empty if unknown.
    pub version: Box<str>,
    /// The Certificate that controls the Secret. Secrets with a next key have one, and others if the operator is configured to set
    /// owner references.
    pub owner: Option<Box<Owner>>,
    /// Whether it is for a Certificate, and something else than the operator or cert-manager has written all of it: a backup was
    /// restored.
    pub restored: bool,
}

/// The Certificate that controls a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: Box<str>,
    /// Its UID.
    pub uid: Box<str>,
}

impl SecretMeta {
    /// Takes what is cached from a Secret's metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        let text = |of: &Option<String>| of.as_deref().unwrap_or_default().into();
        let owner = controller_of_kind::<Certificate>(metadata);
        let is_ours = |entry: &ManagedFieldsEntry| entry.manager.as_deref() == Some(FIELD_MANAGER);
        let is_written = metadata.managed_fields.iter().flatten().any(is_ours);
        let names_certificate =
            metadata.annotations.as_ref().is_some_and(|it| it.contains_key(secret::CERTIFICATE_NAME));
        Self {
            restored: names_certificate && !is_written,
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            version: text(&metadata.resource_version),
            owner: owner
                .map(|owner| Box::new(Owner { name: (*owner.name).into(), uid: (*owner.uid).into() })),
        }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Lookup for SecretMeta {
    type DynamicType = ();

    fn kind((): &()) -> Cow<'_, str> {
        <Secret as Resource>::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        <Secret as Resource>::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        <Secret as Resource>::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        <Secret as Resource>::plural(&())
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.name))
    }

    fn namespace(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.namespace))
    }

    fn resource_version(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.version))
    }

    /// `None`, because no caller needs it.
    fn uid(&self) -> Option<Cow<'_, str>> {
        None
    }
}
