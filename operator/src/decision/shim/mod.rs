//! Which Certificates an annotated object asks for, and what has to change in the Certificates that exist.
//!
//! Knows TLS blocks and annotations, from whatever kind of object they come; must not know how Certificates are issued.
//! Next: `ingress.rs` for what an Ingress asks for, then `annotations.rs` for what each annotation becomes.

mod annotations;
mod ingress;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::{
    certmanager::{Certificate, CertificateSpec},
    meta::IssuerRef,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{ResourceExt, api::ObjectMeta};
use serde_json::{Value, json};

use self::annotations::{TRANSLATED, certificate_annotations, certificate_spec, issuer};
use crate::objects::{
    EventNote, merge_diff,
    metadata::{controller_of, includes, non_empty},
};

/// Marks the members of a `kubectl apply` set. It is not copied, because kubectl prunes members that are not in the manifests.
const APPLY_SET_LABEL: &str = "applyset.kubernetes.io/part-of";

/// What the operator's flags say about objects that ask for Certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShimSettings {
    /// The issuer for objects that ask for certificates by an auto annotation and name no issuer.
    pub default_issuer: Option<IssuerRef>,
    /// Annotations that ask for certificates from the default issuer if their value is `"true"`.
    pub auto_annotations: Vec<String>,
    /// Annotations that are copied from an object to its Certificates.
    pub extra_annotations: Vec<String>,
}

/// An object that may ask for Certificates, reduced to what the decision needs. An Ingress is one.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateSource<'a> {
    /// What kind of object it is.
    pub kind: SourceKind,
    /// Its name, namespace, labels and annotations.
    pub metadata: &'a ObjectMeta,
    /// Makes it the controller of its Certificates. `None` if it has no UID; objects from the API server always have one.
    pub owner: Option<OwnerReference>,
    /// Its complete TLS blocks, in its own order. One Certificate is created for each.
    pub tls: Vec<TlsBlock<'a>>,
}

/// The kinds of objects that may ask for Certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// An Ingress of `networking.k8s.io/v1`.
    Ingress,
}

/// The certificate that one TLS block asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsBlock<'a> {
    /// The Secret that the certificate goes into, and the name of the Certificate; not empty.
    pub secret_name: &'a str,
    /// The DNS names of the certificate; at least one, and none is empty.
    pub hosts: Vec<&'a str>,
}

/// What to do about the Certificates of one source. Those that are as desired are in none of the lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Certificates to create.
    pub create: Vec<Certificate>,
    /// Certificates to change.
    pub update: Vec<Update>,
    /// Names of Certificates to delete: the source owns them, but no longer asks for them.
    pub delete: Vec<String>,
    /// Events to publish about the source.
    pub notes: Vec<EventNote>,
}

/// A change to a Certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The Certificate's name.
    pub name: String,
    /// A JSON merge patch (RFC 7386). It has the resourceVersion, so it fails if the Certificate has changed since it was read.
    pub patch: Value,
}

impl SourceKind {
    /// The field that has the TLS blocks, for messages.
    const fn tls_field(self) -> &'static str {
        match self {
            Self::Ingress => "spec.tls",
        }
    }
}

impl CertificateSource<'_> {
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
/// use operator::decision::shim::{CertificateSource, ShimSettings, decide};
/// use serde_json::{from_value, json};
///
/// let ingress: Ingress = from_value(json!({
///     "metadata": { "name": "web", "annotations": { "cert-manager.io/cluster-issuer": "letsencrypt" } },
///     "spec": { "tls": [{ "hosts": ["www.example.com"], "secretName": "web-tls" }] },
/// }))?;
/// let decision = decide(&CertificateSource::from(&ingress), &[], &ShimSettings::default());
/// assert_eq!(decision.create[0].spec.secret_name, "web-tls");
/// assert_eq!(decision.create[0].spec.issuer_ref.name, "letsencrypt");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn decide(
    source: &CertificateSource<'_>,
    existing: &[Arc<Certificate>],
    settings: &ShimSettings,
) -> Decision {
    let mut decision = Decision::default();
    if source.metadata.deletion_timestamp.is_some() {
        return decision;
    }
    let desired = match desired_certificates(source, settings) {
        Ok(desired) => desired,
        Err(message) => {
            decision.notes.push(EventNote::warning("BadConfig", message));
            return decision;
        }
    };
    let existing: BTreeMap<_, _> =
        existing.iter().map(|certificate| (certificate.name_any(), &**certificate)).collect();
    let names: BTreeSet<_> = desired.iter().map(ResourceExt::name_any).collect();
    let owned = existing.iter().filter(|(_, certificate)| source.controls(certificate));
    decision.delete = owned.map(|(name, _)| name).filter(|name| !names.contains(*name)).cloned().collect();
    for certificate in desired {
        match existing.get(&certificate.name_any()) {
            None => decision.create.push(certificate),
            // A user or another object created it under this name: it is used as it is.
            Some(existing) if !source.controls(existing) => {}
            Some(existing) => decision.update.extend(update(existing, &certificate)),
        }
    }
    decision
}

/// The Certificates that a source asks for.
fn desired_certificates(
    source: &CertificateSource<'_>,
    settings: &ShimSettings,
) -> Result<Vec<Certificate>, String> {
    let Some(issuer) = issuer(source.metadata, settings)? else { return Ok(Vec::new()) };
    let mut secret_names = BTreeSet::new();
    let certificates = source.tls.iter().map(|block| {
        if !secret_names.insert(block.secret_name) {
            let (field, secret_name) = (source.kind.tls_field(), block.secret_name);
            return Err(format!(
                "{field}: two blocks name the Secret {secret_name:?}: put their hosts into one block, or give each \
                 block its own Secret"
            ));
        }
        let spec = certificate_spec(source.metadata, &issuer, block)?;
        desired_certificate(source, spec, settings)
    });
    certificates.collect()
}

fn desired_certificate(
    source: &CertificateSource<'_>,
    spec: CertificateSpec,
    settings: &ShimSettings,
) -> Result<Certificate, String> {
    let mut labels = source.metadata.labels.clone().unwrap_or_default();
    labels.remove(APPLY_SET_LABEL);
    let metadata = ObjectMeta {
        name: Some(spec.secret_name.clone()),
        namespace: source.metadata.namespace.clone(),
        labels: non_empty(labels),
        annotations: non_empty(certificate_annotations(source, settings)?),
        owner_references: source.owner.clone().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    };
    Ok(Certificate { metadata, spec, status: None })
}

/// The change that turns a Certificate into the desired one; `None` if it already is. The shim owns the whole spec, but only
/// those labels and annotations that come from the source: users may add others.
fn update(existing: &Certificate, desired: &Certificate) -> Option<Update> {
    let is_outdated = |name: &&str| {
        existing.annotations().contains_key(*name) && !desired.annotations().contains_key(*name)
    };
    let outdated: Vec<_> = TRANSLATED.into_iter().map(|(_, name)| name).filter(is_outdated).collect();
    if existing.spec == desired.spec
        && includes(existing.labels(), desired.labels())
        && includes(existing.annotations(), desired.annotations())
        && outdated.is_empty()
    {
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
    let spec = |certificate: &Certificate| serde_json::to_value(&certificate.spec).unwrap_or_default();
    if let Some(difference) = merge_diff(&spec(existing), &spec(desired)) {
        patch["spec"] = difference;
    }
    Some(Update { name: desired.name_any(), patch })
}

#[cfg(test)]
mod tests;
