//! What is kept of a Secret that is watched: there is one for each Certificate, so it is little.

use std::borrow::Cow;

use crds::certmanager::Certificate;
use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, api::ObjectMeta, runtime::reflector::Lookup};

use super::metadata::controller_of_kind;

/// Whose a Secret is and how new: what else stands on it is read with what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSecret {
    namespace: Box<str>,
    name: Box<str>,
    /// Its resourceVersion.
    pub version: Box<str>,
    /// The Certificate that controls it: that of a next key, or of any where Secrets go with their Certificates.
    pub owner: Option<Box<Owner>>,
}

/// A Certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: Box<str>,
    /// Its UID.
    pub uid: Box<str>,
}

impl SeenSecret {
    /// What is kept.
    pub fn of(metadata: &ObjectMeta) -> Self {
        let text = |of: &Option<String>| of.as_deref().unwrap_or_default().into();
        let owner = controller_of_kind::<Certificate>(metadata);
        Self {
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

impl Lookup for SeenSecret {
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

    /// Not told: a store would keep a second copy.
    fn resource_version(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Not told: nobody asks for it.
    fn uid(&self) -> Option<Cow<'_, str>> {
        None
    }
}
