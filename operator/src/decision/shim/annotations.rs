//! What the annotations of a source become: the issuer, the fields of a Certificate's spec, and the Certificate's own annotations.
//!
//! Knows the name and format of each annotation; must not know which Certificates exist. Errors are messages for users, and name
//! the annotation. Next: `crds/src/annotations.rs` for the names.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crds::{
    annotations::{request, source},
    certmanager::{
        Certificate, CertificatePrivateKey, CertificateSpec, KeyAlgorithm, KeyEncoding, KeyUsage,
        RotationPolicy, SecretTemplate, Subject,
    },
    condition::one_line,
    duration::GoDuration,
    meta::{CLUSTER_ISSUER_KIND, DEFAULT_ISSUER_KIND, IssuerRef},
};
use kube::{ResourceExt, api::ObjectMeta};
use serde::{Serialize, de::DeserializeOwned};

use super::{CertificateSource, RouteParent, ShimSettings, SourceKind, TlsBlock};
use crate::{decision::ingress_controllers::Edit, objects::metadata::non_empty};

/// Marks the members of a `kubectl apply` set. It is not copied, because kubectl prunes members that are not in the manifests.
const APPLY_SET_LABEL: &str = "applyset.kubernetes.io/part-of";

/// Annotations of an Ingress, and the annotations that they become on its Certificates.
pub(super) const TRANSLATED: [(&str, &str); 4] = [
    (source::HTTP01_EDIT_IN_PLACE, request::OVERRIDE_INGRESS_NAME),
    (source::HTTP01_EDIT_IN_PLACE, request::ISSUE_TEMPORARY_CERTIFICATE),
    (source::HTTP01_INGRESS_CLASS, request::OVERRIDE_INGRESS_CLASS),
    (source::HTTP01_INGRESS_CLASS_NAME, request::OVERRIDE_INGRESS_CLASS_NAME),
];

/// The annotations of Certificates whose challenges are solved in the Ingress although no annotation of that asks for it. The first one
/// says so.
pub(super) const EDITED: [&str; 3] =
    [source::HTTP01_EDIT_IN_PLACE, request::OVERRIDE_INGRESS_NAME, request::ISSUE_TEMPORARY_CERTIFICATE];

/// The annotations of Certificates that say what the HTTPRoutes for their names attach to.
pub(super) const PARENT_REFS: [&str; 3] =
    [request::PARENT_REF_KIND, request::PARENT_REF_NAME, request::PARENT_REF_NAMESPACE];

/// The issuer that a source asks for. `None` if it does not ask for certificates.
pub(super) fn issuer(metadata: &ObjectMeta, settings: &ShimSettings) -> Result<Option<IssuerRef>, String> {
    let annotations = Annotations::of(metadata);
    let text = |name| annotations.text(name);
    let (name, kind, group) = (text(source::ISSUER), text(source::ISSUER_KIND), text(source::ISSUER_GROUP));
    if let Some(cluster_issuer) = text(source::CLUSTER_ISSUER) {
        if name.is_some() || kind.is_some() || group.is_some() {
            return Err(format!(
                "the annotation {} cannot be combined with {}, {}, or {}: name the issuer in one way only",
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
            kind: Some(kind.unwrap_or(DEFAULT_ISSUER_KIND).to_owned()),
            name: name.to_owned(),
        }));
    }
    let mut auto = None;
    for name in &settings.auto_annotations {
        if annotations.flag(name)? {
            auto = auto.or(Some(name));
        }
    }
    let Some(auto) = auto else {
        let is_empty = |name: &&&str| metadata.annotations.iter().flatten().any(|(it, _)| it == **name);
        return match [source::CLUSTER_ISSUER, source::ISSUER].iter().find(is_empty) {
            Some(name) => Err(format!(
                "the annotation {name} is empty, so no certificate is requested, and existing ones are kept. Name an \
                 issuer, or remove the annotation"
            )),
            None => match metadata.annotations.iter().flatten().find(|(name, _)| is_mistaken(name)) {
                Some((name, _)) => Err(format!(
                    "the annotation {name} requests nothing. To request a certificate, name an issuer with {} or {}",
                    source::CLUSTER_ISSUER,
                    source::ISSUER
                )),
                None => Ok(None),
            },
        };
    };
    let default = settings.default_issuer.as_ref().ok_or_else(|| {
        format!(
            "the annotation {auto} asks for the default issuer, but the operator has none: name an issuer with {}, or set \
             the operator's flag --default-issuer-name",
            source::CLUSTER_ISSUER
        )
    })?;
    Ok(Some(IssuerRef {
        kind: kind.map(ToOwned::to_owned).or_else(|| default.kind.clone()),
        group: group.map(ToOwned::to_owned).or_else(|| default.group.clone()),
        name: default.name.clone(),
    }))
}

/// The issuer that an object asks for, if it does and its annotations can be read.
pub fn issuer_of(metadata: &ObjectMeta, settings: &ShimSettings) -> Option<IssuerRef> {
    issuer(metadata, settings).ok().flatten()
}

/// Whether the challenges of a Certificate are solved in its Ingress although no annotation of that asks for it.
pub(super) fn is_edited(certificate: &Certificate) -> bool {
    certificate.annotations().contains_key(EDITED[0])
}

/// Whether an annotation looks as if it named an issuer, and is none of those that do.
fn is_mistaken(name: &str) -> bool {
    const GROUPS: [&str; 4] = ["cert-manager.io/", "certmanager.k8s.io/", "cert-manager/", "certmanager.io/"];
    let Some(name) = GROUPS.iter().find_map(|group| name.strip_prefix(group)) else { return false };
    let name = name.to_ascii_lowercase();
    let is_known = ["issuer-kind", "issuer-group", "issue-temporary-certificate"].contains(&name.as_str());
    !is_known && (name.contains("iss") || name.contains("suer"))
}

/// What the Certificates of all TLS blocks of a source have in common.
pub(super) struct Template {
    spec: CertificateSpec,
    alt_names: Vec<String>,
    ip_sans: Vec<String>,
    metadata: ObjectMeta,
}

impl Template {
    /// Reads the annotations.
    pub(super) fn of(
        source: &CertificateSource<'_>,
        issuer: IssuerRef,
        settings: &ShimSettings,
    ) -> Result<Self, String> {
        let read = Annotations::of(&source.metadata);
        let spec = CertificateSpec {
            common_name: read.string(source::COMMON_NAME),
            duration: read.duration(source::DURATION)?,
            email_addresses: read.list(source::EMAIL_SANS),
            issuer_ref: issuer,
            private_key: private_key(read)?,
            renew_before: read.duration(source::RENEW_BEFORE)?,
            renew_before_percentage: read.number(source::RENEW_BEFORE_PERCENTAGE)?,
            revision_history_limit: read.number(source::REVISION_HISTORY_LIMIT)?,
            secret_template: read.json::<SecretTemplate>(source::SECRET_TEMPLATE)?,
            subject: subject(read)?.map(Box::new),
            // cert-manager writes these two if the annotation is absent.
            usages: Some(
                read.words(source::USAGES)?
                    .unwrap_or_else(|| vec![KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment]),
            ),
            ..CertificateSpec::default()
        };
        let mut labels = source.metadata.labels.clone().unwrap_or_default();
        labels.remove(APPLY_SET_LABEL);
        let metadata = ObjectMeta {
            namespace: source.metadata.namespace.clone(),
            labels: non_empty(labels),
            annotations: non_empty(certificate_annotations(source, settings)?),
            owner_references: source.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        };
        let list = |name| read.list(name).unwrap_or_default();
        Ok(Self { spec, alt_names: list(source::ALT_NAMES), ip_sans: list(source::IP_SANS), metadata })
    }

    /// How many names the annotations add to the hosts of each block.
    pub(super) fn names(&self) -> usize {
        let emails = self.spec.email_addresses.as_ref().map_or(0, Vec::len);
        self.alt_names.len() + self.ip_sans.len() + emails
    }

    /// The Certificate for a TLS block.
    pub(super) fn certificate(&self, block: &TlsBlock<'_>) -> Certificate {
        let is_address = |host: &&str| host.parse::<IpAddr>().is_ok();
        let (addresses, names): (Vec<_>, Vec<_>) = block.hosts.iter().copied().partition(is_address);
        Certificate {
            metadata: ObjectMeta { name: Some(block.secret_name.to_owned()), ..self.metadata.clone() },
            spec: CertificateSpec {
                dns_names: unique(names, &self.alt_names),
                ip_addresses: unique(addresses, &self.ip_sans),
                secret_name: block.secret_name.to_owned(),
                ..self.spec.clone()
            },
            status: None,
        }
    }
}

/// What of a source a field of a Certificate's spec comes from.
pub(super) fn source_of(kind: SourceKind, field: &str) -> Option<String> {
    const SOURCES: [(&str, &str); 12] = [
        ("spec.commonName", "the annotation cert-manager.io/common-name"),
        ("spec.dnsNames", "$HOSTS and the annotation cert-manager.io/alt-names"),
        ("spec.duration", "the annotation cert-manager.io/duration"),
        ("spec.emailAddresses", "the annotation cert-manager.io/email-sans"),
        ("spec.ipAddresses", "$HOSTS and the annotation cert-manager.io/ip-sans"),
        ("spec.issuerRef", "the annotation that names the issuer"),
        (
            "spec.privateKey",
            "the annotations cert-manager.io/private-key-size and cert-manager.io/private-key-algorithm",
        ),
        (
            "spec.renewBefore",
            "the annotations cert-manager.io/renew-before and cert-manager.io/renew-before-percentage",
        ),
        ("spec.revisionHistoryLimit", "the annotation cert-manager.io/revision-history-limit"),
        ("spec.secretName", "$SECRET"),
        ("spec.secretTemplate", "the annotation cert-manager.io/secret-template"),
        ("spec.subject", "the annotations cert-manager.io/subject-*"),
    ];
    let field_of = |field: &str| format!("{}.{field}", kind.tls_field());
    let (_, source) = SOURCES.iter().find(|(of, _)| field.starts_with(of))?;
    let source = source.replace("$HOSTS", &field_of(kind.hosts_field()));
    Some(source.replace("$SECRET", &field_of(kind.secret_field())))
}

/// Values of a source and of an annotation, each once; `None` if there is none.
fn unique(hosts: Vec<&str>, more: &[String]) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let all = hosts.into_iter().chain(more.iter().map(String::as_str));
    let all: Vec<_> = all.filter(|value| seen.insert(*value)).map(ToOwned::to_owned).collect();
    (!all.is_empty()).then_some(all)
}

/// The annotations of a source's Certificates: what its own annotations are translated to, and those that a flag names.
fn certificate_annotations(
    source: &CertificateSource<'_>,
    settings: &ShimSettings,
) -> Result<BTreeMap<String, String>, String> {
    let mut annotations = solver_overrides(source)?;
    if let Some(RouteParent { kind, name, namespace }) = &source.parent {
        // A listener may not be served before its Secret exists, and then no challenge either.
        if Annotations::of(&source.metadata).flag(source::ISSUE_TEMPORARY_CERTIFICATE)? {
            annotations.insert(source::ISSUE_TEMPORARY_CERTIFICATE.to_owned(), "true".to_owned());
        }
        let values = [Some((*kind).to_owned()), Some(name.clone()), namespace.clone()];
        let parents = PARENT_REFS.into_iter().zip(values);
        annotations.extend(parents.filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    let all = source.metadata.annotations.iter().flatten();
    let extra = all.filter(|(name, _)| settings.extra_annotations.contains(name));
    annotations.extend(extra.map(|(name, value)| (name.clone(), value.clone())));
    Ok(annotations)
}

/// Annotations that replace the Ingress or its class in the issuer's HTTP-01 solver.
fn solver_overrides(source: &CertificateSource<'_>) -> Result<BTreeMap<String, String>, String> {
    let ingress = &*source.metadata;
    let read = Annotations::of(ingress);
    let mut overrides = BTreeMap::new();
    for (from, to) in TRANSLATED {
        let Some(value) = read.text(from) else { continue };
        let value = match to {
            request::OVERRIDE_INGRESS_NAME if read.flag(from)? => ingress.name.clone().unwrap_or_default(),
            request::ISSUE_TEMPORARY_CERTIFICATE if read.flag(from)? => "true".to_owned(),
            request::OVERRIDE_INGRESS_NAME | request::ISSUE_TEMPORARY_CERTIFICATE => continue,
            _ => value.to_owned(),
        };
        overrides.insert(to.to_owned(), value);
    }
    if overrides.keys().filter(|name| *name != request::ISSUE_TEMPORARY_CERTIFICATE).count() > 1 {
        return Err(format!(
            "the annotations {}, {}, and {} exclude each other: set only one of them",
            source::HTTP01_EDIT_IN_PLACE,
            source::HTTP01_INGRESS_CLASS,
            source::HTTP01_INGRESS_CLASS_NAME
        ));
    }
    let says_how = TRANSLATED.iter().any(|(from, _)| read.text(from).is_some());
    if source.edit == Edit::Always && !says_how {
        let name = ingress.name.clone().unwrap_or_default();
        let values = ["automatic".to_owned(), name, "true".to_owned()];
        overrides.extend(EDITED.into_iter().map(ToOwned::to_owned).zip(values));
    }
    Ok(overrides)
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
        serial_number: read.string(source::SUBJECT_SERIAL_NUMBER),
        street_addresses: read.csv(source::SUBJECT_STREET_ADDRESSES)?,
    };
    Ok((subject != Subject::default()).then_some(subject))
}

/// Annotations, read as typed values. Surrounding spaces are ignored, and an empty value counts as absent.
#[derive(Clone, Copy)]
struct Annotations<'a>(Option<&'a BTreeMap<String, String>>);

impl<'a> Annotations<'a> {
    fn of(metadata: &'a ObjectMeta) -> Self {
        Self(metadata.annotations.as_ref())
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.0?.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn string(self, name: &str) -> Option<String> {
        self.text(name).map(ToOwned::to_owned)
    }

    /// Values separated by commas, without quoting.
    fn list(self, name: &str) -> Option<Vec<String>> {
        self.text(name).map(|text| split(text).map(ToOwned::to_owned).collect())
    }

    /// One record of comma-separated values as in RFC 4180, so that quoted values may contain commas.
    fn csv(self, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(text.as_bytes());
        let record = reader.records().next().transpose();
        let record = record.map_err(|_| invalid(name, text, "a list of comma-separated values (CSV)"))?;
        Ok(record.map(|record| record.iter().map(ToOwned::to_owned).collect()))
    }

    fn duration(self, name: &str) -> Result<Option<GoDuration>, String> {
        let parse = |text: &str| text.parse().map_err(|error| format!("the annotation {name}: {error}"));
        self.text(name).map(parse).transpose()
    }

    /// Whether a value is true. Users and tools capitalize it.
    fn flag(self, name: &str) -> Result<bool, String> {
        let Some(text) = self.text(name) else { return Ok(false) };
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(invalid(name, text, "\"true\" or \"false\"")),
        }
    }

    fn number(self, name: &str) -> Result<Option<i32>, String> {
        let parse = |text: &str| text.parse().map_err(|_| invalid(name, text, "a whole number"));
        self.text(name).map(parse).transpose()
    }

    /// A value of an enum, spelled as in the API.
    fn word<T: DeserializeOwned>(self, name: &str) -> Result<Option<T>, String> {
        self.text(name).map(|text| word(name, text)).transpose()
    }

    /// Values of an enum, separated by commas.
    fn words<T: DeserializeOwned>(self, name: &str) -> Result<Option<Vec<T>>, String> {
        self.text(name).map(|text| split(text).map(|text| word(name, text)).collect()).transpose()
    }

    fn json<T: DeserializeOwned + Serialize>(self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parse = || -> Option<T> {
            let value: serde_json::Value = serde_json::from_str(text).ok()?;
            let typed: T = serde_json::from_value(value.clone()).ok()?;
            // An unknown member would be lost silently.
            (serde_json::to_value(&typed).ok()? == value).then_some(typed)
        };
        let error = || invalid(name, text, "a JSON object that has only annotations and labels");
        parse().map(Some).ok_or_else(error)
    }
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn word<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, String> {
    // serde's error lists the values, in a sentence for programmers.
    serde_json::from_value(text.into()).map_err(|error: serde_json::Error| {
        let error = error.to_string();
        let values = error.split_once("expected one of ").or_else(|| error.split_once("expected "));
        let values = values.map_or("one of the API's values", |(_, values)| values).replace('`', "");
        invalid(name, text, &format!("one of {values}"))
    })
}

fn invalid(name: &str, text: &str, expected: &str) -> String {
    format!("the annotation {name} must be {expected}, not {:?}", one_line(text, 100))
}
