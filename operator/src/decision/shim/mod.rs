//! Which Certificates an annotated object asks for, and what has to change in the Certificates that exist.
//!
//! Knows TLS blocks and annotations, from whatever kind of object they come; must not know how Certificates are issued.
//! Next: `ingress.rs` and `gateway.rs` for what an object asks for, then `annotations.rs` for what each annotation becomes.

mod annotations;
mod bounds;
mod gateway;
mod ingress;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::{annotations::source, certmanager::Certificate, meta::IssuerRef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use kube::{ResourceExt, api::ObjectMeta};
use serde_json::{Value, json};

use self::annotations::{EDITED, PARENT_REFS, TRANSLATED, Template, is_edited, issuer, source_of};
pub use self::{
    annotations::issuer_of,
    bounds::{LONGEST_METADATA, MOST_BLOCKS, MOST_NAMES},
    gateway::{MOST_NOTES, parent_namespace},
};
use super::ingress_controllers::Edit;
use crate::{
    objects::{
        EventNote, extra,
        managed_fields::owns,
        merge_missing,
        metadata::{controller_of, includes},
    },
    reason::Reason,
};

/// What the operator's flags say about objects that ask for Certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShimSettings {
    /// The issuer for objects that ask for certificates by an auto annotation and name no issuer.
    pub default_issuer: Option<IssuerRef>,
    /// Annotations that ask for certificates from the default issuer if their value is `"true"`.
    pub auto_annotations: Vec<String>,
    /// Annotations that are copied from an object to its Certificates.
    pub extra_annotations: Vec<String>,
    /// Protocols of listeners that serve TLS, besides `HTTPS` and `TLS`.
    pub extra_protocols: Vec<String>,
    /// Whether no object gets Certificates. Those that exist stay as they are.
    pub is_off: bool,
}

/// An object that may ask for Certificates, reduced to what the decision needs. An Ingress is one.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateSource<'a> {
    /// What kind of object it is.
    pub kind: SourceKind,
    /// Its name, namespace, labels and annotations, including those that count for it but are on another object.
    pub metadata: Cow<'a, ObjectMeta>,
    /// Makes it the controller of its Certificates. `None` if it has no UID; objects from the API server always have one.
    pub owner: Option<OwnerReference>,
    /// How many TLS blocks it has. The listeners of a Gateway with one Secret are one block.
    pub blocks: usize,
    /// The complete ones among its first [`MOST_BLOCKS`] TLS blocks, in its own order. One Certificate is created for each.
    pub tls: Vec<TlsBlock<'a>>,
    /// What the other blocks lack, for people.
    pub incomplete: Vec<String>,
    /// Secrets of other blocks, whose Certificates are kept.
    pub kept: BTreeSet<&'a str>,
    /// What the HTTPRoutes for its names attach to.
    pub parent: Option<RouteParent>,
    /// Why it gets no Certificates, for people.
    pub refused: Option<String>,
    /// Whether the paths of challenges are put into it if no annotation says how they are solved.
    pub edit: Edit,
}

/// What an HTTPRoute attaches to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteParent {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its namespace, unless it is that of the Certificates.
    pub namespace: Option<String>,
}

/// The kinds of objects that may ask for Certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// An Ingress of `networking.k8s.io/v1`.
    Ingress,
    /// A Gateway of `gateway.networking.k8s.io/v1`.
    Gateway,
    /// A ListenerSet of `gateway.networking.k8s.io/v1`.
    ListenerSet,
}

/// The certificate that one TLS block asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsBlock<'a> {
    /// The Secret that the certificate goes into, and the name of the Certificate; not empty.
    pub secret_name: &'a str,
    /// The DNS names of the certificate; at least one, and none is empty.
    pub hosts: Vec<&'a str>,
}

/// What to do about the Certificates of one source.
pub struct Decision<'a> {
    /// What to do for each TLS block whose Certificate is not as desired. Each change is built when it is taken, because the names of
    /// the annotations are in all of them.
    pub changes: Box<dyn Iterator<Item = Change> + Send + 'a>,
    /// Names of Certificates to delete: the source owns them, but no longer asks for them.
    pub delete: Vec<String>,
    /// Events to publish about the source.
    pub notes: Vec<EventNote>,
}

impl Default for Decision<'_> {
    fn default() -> Self {
        Self { changes: Box::new(std::iter::empty()), delete: Vec::new(), notes: Vec::new() }
    }
}

/// What to do for a TLS block.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Create the Certificate.
    Create(Box<Certificate>),
    /// Change the Certificate.
    Update(Update),
    /// Leave the Certificate of this name alone, which is something else's.
    LeaveAlone {
        /// The Certificate's name.
        name: String,
        /// The kind and name of the object that it was created for, if it has one.
        owner: String,
    },
}

/// A change to a Certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The Certificate's name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// A JSON merge patch (RFC 7386). It has the resourceVersion, so it fails if the Certificate has changed since it was read.
    pub patch: Value,
    /// Whether the patch changes nothing, so that it is needed only to remove fields.
    pub is_same: bool,
    /// Fields of the spec that the source does not ask for. [`checked`] removes those that the shim has set.
    pub extra: Vec<Vec<String>>,
    /// Whether the Certificate has no owner, so that it may be a user's.
    pub if_created_by_shim: bool,
}

/// Whether a source becomes the owner of a Certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Adopt {
    Never,
    IfCreatedByShim,
    Always,
}

/// An update after a check of who has set what.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// The patch to apply.
    Patch(Value),
    /// Everything is as the source asks for.
    Same,
    /// The Certificate is a user's.
    LeftAlone,
}

impl Update {
    /// Whether the managed fields have to be known.
    pub fn needs_check(&self) -> bool {
        self.if_created_by_shim || !self.extra.is_empty()
    }
}

/// The patch that also removes those of the extra fields that a field manager owns: it had set them for an annotation that is gone.
/// Others were set by users.
pub fn checked(update: &Update, who: &str, managed: &[ManagedFieldsEntry]) -> Checked {
    if update.if_created_by_shim && !owns(managed, who, &["spec", "secretName"]) {
        return Checked::LeftAlone;
    }
    let mut patch = update.patch.clone();
    let mut is_same = update.is_same;
    for path in &update.extra {
        let field: Vec<_> = ["spec"].into_iter().chain(path.iter().map(String::as_str)).collect();
        if owns(managed, who, &field) {
            let pointer = path.iter().fold(&mut patch["spec"], |value, name| &mut value[name]);
            *pointer = Value::Null;
            is_same = false;
        }
    }
    if is_same { Checked::Same } else { Checked::Patch(patch) }
}

impl SourceKind {
    /// Its name in the API.
    const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
        }
    }

    /// The field that has the TLS blocks, for messages.
    const fn tls_field(self) -> &'static str {
        match self {
            Self::Ingress => "spec.tls",
            Self::Gateway | Self::ListenerSet => "spec.listeners",
        }
    }

    /// The field of a TLS block that names the Secret, for messages.
    const fn secret_field(self) -> &'static str {
        match self {
            Self::Ingress => "secretName",
            Self::Gateway | Self::ListenerSet => "tls.certificateRefs",
        }
    }

    /// The field of a TLS block that has the hosts, for messages.
    const fn hosts_field(self) -> &'static str {
        match self {
            Self::Ingress => "hosts",
            Self::Gateway | Self::ListenerSet => "hostname",
        }
    }

    /// The annotations of Certificates that come only from the source: they are removed once it no longer asks for them.
    fn translated(self) -> Vec<&'static str> {
        let others: &[_] = match self {
            Self::Ingress => &EDITED[..1],
            Self::Gateway | Self::ListenerSet => &PARENT_REFS,
        };
        TRANSLATED.iter().map(|(_, name)| *name).chain(others.iter().copied()).collect()
    }
}

impl CertificateSource<'_> {
    /// Whether a Certificate was created for a source of this name that is gone: a backup was restored, or the source was created
    /// again.
    fn replaces_owner_of(&self, existing: &Certificate) -> bool {
        let controller = controller_of(&existing.metadata);
        let pair = controller.zip(self.owner.as_ref());
        // Gateways of other groups have the same kind.
        let group = |of: &OwnerReference| of.api_version.split_once('/').map(|(group, _)| group.to_owned());
        pair.is_some_and(|(controller, owner)| {
            controller.kind == owner.kind
                && controller.name == owner.name
                && group(controller) == group(owner)
        })
    }

    /// What a Certificate that exists must have. Usages that no annotation sets are only for new ones: a Certificate that lacks
    /// them, because it was created by an older version, must not be issued again.
    fn spec(&self, desired: &Certificate) -> Value {
        let mut spec = spec(desired);
        let is_set = self.metadata.annotations.iter().flatten().any(|(name, _)| name == source::USAGES);
        if !is_set && let Some(fields) = spec.as_object_mut() {
            fields.remove("usages");
        }
        spec
    }

    /// Whether the source is the controller of a Certificate. UIDs are unique among all kinds, so the kind is not compared.
    fn controls(&self, certificate: &Certificate) -> bool {
        let controller = controller_of(&certificate.metadata);
        controller.zip(self.owner.as_ref()).is_some_and(|(controller, owner)| controller.uid == owner.uid)
    }
}

/// Compares the Certificates that a source asks for with the `existing` ones of its namespace. These must include all that have
/// the name of one of its TLS blocks and all that it controls; others are ignored.
///
/// ```
/// use k8s_openapi::api::networking::v1::Ingress;
/// use operator::decision::shim::{CertificateSource, Change, ShimSettings, decide};
/// use serde_json::{from_value, json};
///
/// let ingress: Ingress = from_value(json!({
///     "metadata": { "name": "web", "annotations": { "cert-manager.io/cluster-issuer": "letsencrypt" } },
///     "spec": { "tls": [{ "hosts": ["www.example.com"], "secretName": "web-tls" }] },
/// }))?;
/// let (source, settings) = (CertificateSource::from(&ingress), ShimSettings::default());
/// let Some(Change::Create(certificate)) = decide(&source, &[], &settings).changes.next() else { panic!() };
/// assert_eq!(certificate.spec.secret_name, "web-tls");
/// assert_eq!(certificate.spec.issuer_ref.name, "letsencrypt");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn decide<'a>(
    source: &'a CertificateSource<'a>,
    existing: &'a [Arc<Certificate>],
    settings: &ShimSettings,
) -> Decision<'a> {
    let mut decision = Decision::default();
    if source.metadata.deletion_timestamp.is_some() || settings.is_off {
        return decision;
    }
    if let Some(why) = &source.refused {
        let asks = asks_for_certificates(&source.metadata, settings);
        decision.notes.extend(asks.then(|| EventNote::warning(Reason::BadConfig, why)));
        return decision;
    }
    let existing: BTreeMap<_, _> =
        existing.iter().map(|certificate| (certificate.name_any(), &**certificate)).collect();
    let owned = existing.iter().filter(|(_, it)| source.controls(it)).map(|(name, _)| name);
    let template = match template(source, settings) {
        Ok(Some(template)) => template,
        Ok(None) => {
            decision.notes.extend(kept(&owned.map(String::as_str).collect::<Vec<_>>()));
            return decision;
        }
        Err(message) => {
            decision.notes.push(EventNote::warning(Reason::BadConfig, message));
            return decision;
        }
    };
    decision.notes.extend(source.incomplete.iter().map(|lack| EventNote::warning(Reason::BadConfig, lack)));
    let mut names = source.kept.clone();
    names.extend(source.tls.iter().map(|block| block.secret_name));
    decision.delete = owned.filter(|name| !names.contains(name.as_str())).cloned().collect();
    decision.changes = Box::new(source.tls.iter().filter_map(move |block| {
        let certificate = template.certificate(block);
        change(source, existing.get(block.secret_name).copied(), certificate)
    }));
    decision
}

/// What to do if a source asks for a Certificate; `None` if it exists as desired.
fn change(
    source: &CertificateSource<'_>,
    existing: Option<&Certificate>,
    desired: Certificate,
) -> Option<Change> {
    let Some(existing) = existing else { return Some(Change::Create(Box::new(desired))) };
    let adopt = if source.controls(existing) {
        Adopt::Never
    } else if source.replaces_owner_of(existing) {
        Adopt::Always
    } else if let Some(owner) = controller_of(&existing.metadata) {
        let owner = format!("{} {:?}", owner.kind, owner.name);
        return Some(Change::LeaveAlone { name: existing.name_any(), owner });
    } else {
        // It may be one of ours that has lost its owner, or a user's.
        Adopt::IfCreatedByShim
    };
    update(source, existing, &desired, adopt).map(Change::Update)
}

/// Whether an object may ask for Certificates. If not, nothing but its name is needed.
pub fn asks_for_certificates(metadata: &ObjectMeta, settings: &ShimSettings) -> bool {
    !settings.is_off && !matches!(issuer(metadata, settings), Ok(None))
}

/// The event about a Certificate that was created for another object, under the name that a source asks for.
pub fn of_another(kind: SourceKind, name: &str, owner: &str) -> EventNote {
    let (kind, field) = (kind.name(), kind.secret_field());
    EventNote::warning(
        Reason::BadConfig,
        format!(
            "the Certificate {name:?} was created for the {owner}, so its certificate may lack the hosts of this {kind}. Change the \
             {field} of one of them"
        ),
    )
}

/// The event about a Certificate that a user created under the name that a source asks for.
pub fn left_alone(kind: SourceKind, name: &str) -> EventNote {
    let (kind, field) = (kind.name(), kind.secret_field());
    EventNote::warning(
        Reason::BadConfig,
        format!(
            "the Certificate {name:?} was not created for this {kind}, so it is left alone, and its certificate may lack these \
             hosts. Change the {field}, or delete the Certificate, and another is created for this {kind}"
        ),
    )
}

/// The event about a Certificate that the API server does not accept, by the fields and why.
pub fn rejected(kind: SourceKind, name: &str, fields: &[(String, String)]) -> EventNote {
    let problems: Vec<_> = fields.iter().map(|(field, why)| format!("{field}: {why}")).collect();
    let sources: BTreeSet<_> = fields.iter().filter_map(|(field, _)| source_of(kind, field)).collect();
    let sources = sources.into_iter().collect::<Vec<_>>().join(", ");
    let sources = if sources.is_empty() { "the annotations" } else { &*sources };
    let problems = problems.join("; ");
    let message =
        format!("the Certificate {name:?} can't be created or changed: {problems}. Correct {sources}");
    EventNote::warning(Reason::BadConfig, message)
}

/// The event about a Certificate that was created, deleted or changed.
pub fn written(reason: Reason, name: &str) -> EventNote {
    let verb = match reason {
        Reason::CreateCertificate => "created",
        Reason::DeleteCertificate => "deleted unrequired",
        _ => "updated",
    };
    EventNote::normal(reason, format!("Successfully {verb} Certificate {name:?}"))
}

/// The event about Certificates that the source no longer asks for. A slip must not take away a working certificate.
fn kept(owned: &[&str]) -> Option<EventNote> {
    let names = owned.join(", ");
    let message = format!(
        "no annotation names an issuer any more: these Certificates are kept and renewed until you delete them: {names}"
    );
    (!owned.is_empty()).then(|| EventNote::normal(Reason::CertificateKept, message))
}

/// What the Certificates have in common that a source asks for; `None` if it asks for none.
fn template(source: &CertificateSource<'_>, settings: &ShimSettings) -> Result<Option<Template>, String> {
    let Some(issuer) = issuer(&source.metadata, settings)? else { return Ok(None) };
    bounds::check(source, settings)?;
    let template = Template::of(source, issuer, settings)?;
    let mut secret_names = BTreeSet::new();
    for block in &source.tls {
        let (field, secret_name) = (source.kind.tls_field(), block.secret_name);
        if !secret_names.insert(secret_name) {
            return Err(format!(
                "{field}: two blocks name the Secret {secret_name:?}: put their hosts into one block, or give each \
                 block its own Secret"
            ));
        }
        bounds::check_names(block, template.names())?;
    }
    Ok(Some(template))
}

/// The change that gives a Certificate what its source asks for, and an owner if it lacks that; `None` if it has all. Fields,
/// labels and annotations that the source says nothing about belong to the user.
fn update(
    source: &CertificateSource<'_>,
    existing: &Certificate,
    desired: &Certificate,
    adopt: Adopt,
) -> Option<Update> {
    let is_kept = source.edit == Edit::AsBefore && is_edited(existing);
    let is_outdated = |name: &&str| {
        existing.annotations().contains_key(*name)
            && !desired.annotations().contains_key(*name)
            && !(is_kept && EDITED.contains(name))
    };
    let outdated: Vec<_> = source.kind.translated().into_iter().filter(is_outdated).collect();
    let (existing_spec, desired_spec) = (spec(existing), source.spec(desired));
    let mut extra = extra(&existing_spec, &desired_spec);
    // Without the annotation, the source asks for no usages, and the default is as good as what is there.
    extra.retain(|path| path.first().is_none_or(|field| field != "usages"));
    let missing = merge_missing(&existing_spec, &desired_spec);
    let is_same = missing.is_none()
        && includes(existing.labels(), desired.labels())
        && includes(existing.annotations(), desired.annotations())
        && outdated.is_empty()
        && adopt == Adopt::Never;
    if is_same && extra.is_empty() {
        return None;
    }
    let mut annotations = json!(desired.annotations());
    for name in outdated {
        annotations[name] = Value::Null;
    }
    let mut patch = json!({
        "metadata": {
            "resourceVersion": existing.resource_version(),
            "annotations": annotations,
            "labels": desired.labels(),
        },
    });
    if adopt != Adopt::Never {
        let others = existing.owner_references().iter().filter(|owner| owner.controller != Some(true));
        let owners: Vec<_> = others.chain(&source.owner).collect();
        patch["metadata"]["ownerReferences"] = json!(owners);
    }
    if let Some(missing) = missing {
        patch["spec"] = missing;
    }
    let uid = existing.uid().unwrap_or_default();
    let if_created_by_shim = adopt == Adopt::IfCreatedByShim;
    Some(Update { name: desired.name_any(), uid, patch, is_same, extra, if_created_by_shim })
}

/// A spec as the API server stores it.
fn spec(certificate: &Certificate) -> Value {
    serde_json::to_value(&certificate.spec).unwrap_or_default()
}

#[cfg(test)]
mod tests;
