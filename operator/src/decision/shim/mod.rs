//! Which Certificates an Ingress asks for by its annotations and TLS blocks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crds::{
    annotations::{request, source},
    certmanager::{
        Certificate, CertificatePrivateKey, CertificateSpec, KeyAlgorithm, KeyEncoding, KeyUsage,
        RotationPolicy, SecretTemplate, Subject,
    },
    duration::GoDuration,
    meta::{CLUSTER_ISSUER_KIND, IssuerRef},
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use serde::de::DeserializeOwned;

use crate::objects::{
    EventNote,
    metadata::{controlled_by, includes, non_empty, owned},
};

/// A label that must not be copied: kubectl would prune the Certificate with it.
const APPLY_SET_LABEL: &str = "applyset.kubernetes.io/part-of";

/// What the operator's flags say about Ingresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShimSettings {
    /// The issuer of Ingresses that are annotated without naming one.
    pub default_issuer: Option<IssuerRef>,
    /// Annotations that ask for certificates of the default issuer where they are `"true"`.
    pub auto_annotations: Vec<String>,
    /// Annotations that go from the Ingress to its Certificates.
    pub extra_annotations: Vec<String>,
}

/// What to do: Certificates as they shall be, and names of those that nobody asks for any more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// To be made.
    pub create: Vec<Certificate>,
    /// To be changed: as it is, and as it shall be.
    pub update: Vec<(Arc<Certificate>, Certificate)>,
    /// To be deleted.
    pub delete: Vec<String>,
    /// What users are told.
    pub notes: Vec<EventNote>,
}

/// Decides. `existing` are all Certificates of the namespace that have one of the names that count, or this Ingress for their
/// controller.
pub fn decide(ingress: &Ingress, existing: &[Arc<Certificate>], settings: &ShimSettings) -> Decision {
    let mut decision = Decision::default();
    if ingress.metadata.deletion_timestamp.is_some() {
        return decision;
    }
    let uid = ingress.uid();
    let is_ours = |certificate: &Certificate| {
        uid.is_some()
            && controlled_by(&certificate.metadata, "Ingress").map(|owner| owner.uid.as_str())
                == uid.as_deref()
    };
    let wanted = match wanted(ingress, settings) {
        Ok(wanted) => wanted,
        Err(message) => {
            decision.notes.push(EventNote::warning("BadConfig", message));
            return decision;
        }
    };
    for certificate in &wanted {
        let name = certificate.name_any();
        match existing.iter().find(|existing| existing.name_any() == name) {
            None => decision.create.push(certificate.clone()),
            // Somebody made it by hand: that is what counts.
            Some(existing) if !is_ours(existing) => {}
            Some(existing) if is_up_to_date(existing, certificate) => {}
            Some(existing) => decision.update.push((Arc::clone(existing), certificate.clone())),
        }
    }
    let names: BTreeSet<_> = wanted.iter().map(ResourceExt::name_any).collect();
    let unwanted =
        existing.iter().filter(|existing| is_ours(existing) && !names.contains(&existing.name_any()));
    decision.delete = unwanted.map(|existing| existing.name_any()).collect();
    decision
}

/// Whether a Certificate is as it shall be: its whole spec, and the labels and annotations that come from the Ingress.
fn is_up_to_date(existing: &Certificate, wanted: &Certificate) -> bool {
    let stale = FROM_INGRESS.iter().any(|(_, name)| {
        existing.annotations().contains_key(*name) && !wanted.annotations().contains_key(*name)
    });
    existing.spec == wanted.spec
        && includes(existing.labels(), wanted.labels())
        && includes(existing.annotations(), wanted.annotations())
        && !stale
}

/// Annotations of an Ingress and what they are on a Certificate.
pub const FROM_INGRESS: [(&str, &str); 4] = [
    (source::HTTP01_EDIT_IN_PLACE, request::OVERRIDE_INGRESS_NAME),
    (source::HTTP01_EDIT_IN_PLACE, request::ISSUE_TEMPORARY_CERTIFICATE),
    (source::HTTP01_INGRESS_CLASS, request::OVERRIDE_INGRESS_CLASS),
    (source::HTTP01_INGRESS_CLASS_NAME, request::OVERRIDE_INGRESS_CLASS_NAME),
];

fn wanted(ingress: &Ingress, settings: &ShimSettings) -> Result<Vec<Certificate>, String> {
    let Some(issuer) = issuer(ingress, settings)? else { return Ok(Vec::new()) };
    let mut certificates: Vec<Certificate> = Vec::new();
    for block in ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()) {
        let hosts: Vec<_> = block.hosts.iter().flatten().filter(|host| !host.is_empty()).cloned().collect();
        let Some(secret) = block.secret_name.as_ref().filter(|name| !name.is_empty() && !hosts.is_empty())
        else {
            continue;
        };
        if certificates.iter().any(|other| other.spec.secret_name == *secret) {
            return Err(format!(
                "spec.tls: two blocks name the Secret {secret:?}: put their hosts into one block, or give each a Secret"
            ));
        }
        certificates.push(certificate(ingress, &issuer, secret, hosts, settings)?);
    }
    Ok(certificates)
}

fn annotation<'a>(ingress: &'a Ingress, name: &str) -> Option<&'a str> {
    ingress.annotations().get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// The issuer that an Ingress asks for, if it asks for one.
fn issuer(ingress: &Ingress, settings: &ShimSettings) -> Result<Option<IssuerRef>, String> {
    let of = |name| annotation(ingress, name);
    let (name, kind, group) = (of(source::ISSUER), of(source::ISSUER_KIND), of(source::ISSUER_GROUP));
    if let Some(cluster_issuer) = of(source::CLUSTER_ISSUER) {
        if name.is_some() || kind.is_some() || group.is_some() {
            return Err(format!(
                "the annotation {} excludes {}, {} and {}: keep one way to name the issuer",
                source::CLUSTER_ISSUER,
                source::ISSUER,
                source::ISSUER_KIND,
                source::ISSUER_GROUP
            ));
        }
        return Ok(Some(IssuerRef {
            group: Some(crds::GROUP.to_owned()),
            kind: Some(CLUSTER_ISSUER_KIND.to_owned()),
            name: cluster_issuer.to_owned(),
        }));
    }
    if let Some(name) = name {
        return Ok(Some(IssuerRef {
            group: Some(group.unwrap_or(crds::GROUP).to_owned()),
            kind: Some(kind.unwrap_or(crds::meta::DEFAULT_ISSUER_KIND).to_owned()),
            name: name.to_owned(),
        }));
    }
    let auto = settings.auto_annotations.iter().any(|name| of(name) == Some("true"));
    match &settings.default_issuer {
        Some(default) if auto => Ok(Some(IssuerRef {
            kind: kind.map(ToOwned::to_owned).or_else(|| default.kind.clone()),
            group: group.map(ToOwned::to_owned).or_else(|| default.group.clone()),
            name: default.name.clone(),
        })),
        None if auto => Err(format!(
            "the annotation {} asks for the default issuer, and the operator has none: name one with {}, or set \
             --default-issuer-name",
            source::TLS_ACME,
            source::CLUSTER_ISSUER
        )),
        _ => Ok(None),
    }
}

fn certificate(
    ingress: &Ingress,
    issuer: &IssuerRef,
    secret: &str,
    hosts: Vec<String>,
    settings: &ShimSettings,
) -> Result<Certificate, String> {
    let read = Annotations(ingress);
    let mut dns_names = hosts;
    dns_names.extend(read.list(source::ALT_NAMES).into_iter().flatten());
    let mut seen = BTreeSet::new();
    dns_names.retain(|name| seen.insert(name.clone()));
    let usages = read.list(source::USAGES).map(|usages| {
        usages.iter().map(|usage| word::<KeyUsage>(source::USAGES, usage)).collect::<Result<Vec<_>, _>>()
    });
    let spec = CertificateSpec {
        common_name: read.text(source::COMMON_NAME),
        dns_names: Some(dns_names),
        duration: read.duration(source::DURATION)?,
        email_addresses: read.list(source::EMAIL_SANS),
        ip_addresses: read.list(source::IP_SANS),
        issuer_ref: issuer.clone(),
        private_key: private_key(read)?,
        renew_before: read.duration(source::RENEW_BEFORE)?,
        renew_before_percentage: read.number(source::RENEW_BEFORE_PERCENTAGE)?,
        revision_history_limit: read.number(source::REVISION_HISTORY_LIMIT)?,
        secret_name: secret.to_owned(),
        secret_template: read.json::<SecretTemplate>(source::SECRET_TEMPLATE)?,
        subject: subject(read)?.map(Box::new),
        // What cert-manager writes where the annotation does not say.
        usages: Some(
            usages
                .transpose()?
                .unwrap_or_else(|| vec![KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment]),
        ),
        ..CertificateSpec::default()
    };
    let mut certificate = Certificate::new(secret, spec);
    certificate.metadata = owned(secret, ingress);
    let mut labels = ingress.labels().clone();
    labels.remove(APPLY_SET_LABEL);
    certificate.metadata.labels = non_empty(labels);
    certificate.metadata.annotations = non_empty(copied_annotations(ingress, settings)?);
    Ok(certificate)
}

fn copied_annotations(
    ingress: &Ingress,
    settings: &ShimSettings,
) -> Result<BTreeMap<String, String>, String> {
    let mut annotations = BTreeMap::new();
    for (from, to) in FROM_INGRESS {
        let Some(value) = annotation(ingress, from) else { continue };
        let value = match to {
            request::OVERRIDE_INGRESS_NAME if value == "true" => ingress.name_any(),
            request::ISSUE_TEMPORARY_CERTIFICATE if value == "true" => "true".to_owned(),
            request::OVERRIDE_INGRESS_NAME | request::ISSUE_TEMPORARY_CERTIFICATE => continue,
            _ => value.to_owned(),
        };
        annotations.insert(to.to_owned(), value);
    }
    let overrides = annotations.keys().filter(|name| *name != request::ISSUE_TEMPORARY_CERTIFICATE).count();
    if overrides > 1 {
        return Err(format!(
            "only one of the annotations {}, {} and {} may be there",
            source::HTTP01_EDIT_IN_PLACE,
            source::HTTP01_INGRESS_CLASS,
            source::HTTP01_INGRESS_CLASS_NAME
        ));
    }
    for name in &settings.extra_annotations {
        if let Some(value) = ingress.annotations().get(name) {
            annotations.insert(name.clone(), value.clone());
        }
    }
    Ok(annotations)
}

fn private_key(read: Annotations<'_>) -> Result<Option<CertificatePrivateKey>, String> {
    let key = CertificatePrivateKey {
        algorithm: read.word::<KeyAlgorithm>(source::PRIVATE_KEY_ALGORITHM)?,
        encoding: read.word::<KeyEncoding>(source::PRIVATE_KEY_ENCODING)?,
        rotation_policy: read.word::<RotationPolicy>(source::PRIVATE_KEY_ROTATION_POLICY)?,
        size: read.number(source::PRIVATE_KEY_SIZE)?,
    };
    Ok((key != CertificatePrivateKey::default()).then_some(key))
}

fn subject(read: Annotations<'_>) -> Result<Option<Subject>, String> {
    let subject = Subject {
        countries: read.csv(source::SUBJECT_COUNTRIES)?,
        localities: read.csv(source::SUBJECT_LOCALITIES)?,
        organizational_units: read.csv(source::SUBJECT_ORGANIZATIONAL_UNITS)?,
        organizations: read.csv(source::SUBJECT_ORGANIZATIONS)?,
        postal_codes: read.csv(source::SUBJECT_POSTAL_CODES)?,
        provinces: read.csv(source::SUBJECT_PROVINCES)?,
        serial_number: read.text(source::SUBJECT_SERIAL_NUMBER),
        street_addresses: read.csv(source::SUBJECT_STREET_ADDRESSES)?,
    };
    Ok((subject != Subject::default()).then_some(subject))
}

/// Annotations, read as what they stand for.
#[derive(Clone, Copy)]
struct Annotations<'a>(&'a Ingress);

impl Annotations<'_> {
    fn text(self, name: &str) -> Option<String> {
        annotation(self.0, name).map(ToOwned::to_owned)
    }

    fn list(self, name: &str) -> Option<Vec<String>> {
        let parts = annotation(self.0, name)?.split(',').map(str::trim).filter(|part| !part.is_empty());
        Some(parts.map(ToOwned::to_owned).collect())
    }

    fn csv(self, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(text) = annotation(self.0, name) else { return Ok(None) };
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(text.as_bytes());
        let record = reader.records().next();
        let record =
            record.transpose().map_err(|_| format!("the annotation {name}: {text:?} is no list in CSV"))?;
        Ok(record.map(|record| record.iter().map(ToOwned::to_owned).collect()))
    }

    fn duration(self, name: &str) -> Result<Option<GoDuration>, String> {
        let parse = |text: &str| text.parse().map_err(|error| format!("the annotation {name}: {error}"));
        annotation(self.0, name).map(parse).transpose()
    }

    fn number(self, name: &str) -> Result<Option<i32>, String> {
        let parse = |text: &str| {
            text.parse().map_err(|_| format!("the annotation {name}: {text:?} is no whole number"))
        };
        annotation(self.0, name).map(parse).transpose()
    }

    fn word<T: DeserializeOwned>(self, name: &str) -> Result<Option<T>, String> {
        annotation(self.0, name).map(|text| word(name, text)).transpose()
    }

    fn json<T: DeserializeOwned + serde::Serialize>(self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = annotation(self.0, name) else { return Ok(None) };
        let read = || -> Option<T> {
            let value: serde_json::Value = serde_json::from_str(text).ok()?;
            let typed: T = serde_json::from_value(value.clone()).ok()?;
            // A member that is not known would be lost without a word.
            (serde_json::to_value(&typed).ok()? == value).then_some(typed)
        };
        let no =
            || format!("the annotation {name}: {text:?} is no JSON object with annotations and labels alone");
        read().map(Some).ok_or_else(no)
    }
}

/// A word that is one of a set, as the API spells it.
fn word<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| format!("the annotation {name}: {error}"))
}

#[cfg(test)]
mod tests;
