//! Rules about everything around a good certificate in the Secret: what they find is rewritten without an issuance.

use std::collections::{BTreeMap, BTreeSet};

use crds::{
    annotations::{PREFIX, secret},
    certmanager::OutputFormat,
};

use super::{Finding, Input, finding};
use crate::{objects, reason::Reason};

pub(super) fn metadata_differs(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    let expected = objects::secret::annotations(input.certificate, view.leaf()?);
    let issuer = [secret::ISSUER_NAME, secret::ISSUER_KIND, secret::ISSUER_GROUP];
    let same = expected
        .iter()
        // `issuer_differs` compares these, because it knows their defaults.
        .filter(|(name, _)| !issuer.contains(&name.as_str()))
        .all(|(name, value)| view.annotations.get(name) == Some(value))
        && view.labels.get(secret::FULL_ACCESS_LABEL).is_some_and(|value| value == "true");
    if same {
        return None;
    }
    finding(Reason::SecretManagedMetadataMismatch, "Secret's own labels and annotations are not up to date")
}

pub(super) fn template_differs(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    let template = input.certificate.spec.secret_template.as_ref()?;
    // The operator's own labels and annotations win over those of a template.
    let own = objects::secret::annotations(input.certificate, view.leaf()?);
    let has = |all: &BTreeMap<String, String>, these: &Option<BTreeMap<String, String>>| {
        let mut these = these.iter().flatten();
        these.all(|(name, value)| {
            name == secret::FULL_ACCESS_LABEL || own.contains_key(name) || all.get(name) == Some(value)
        })
    };
    if has(&view.annotations, &template.annotations) && has(&view.labels, &template.labels) {
        return None;
    }
    finding(
        Reason::SecretTemplateMismatch,
        "Certificate's SecretTemplate is missing or differs on the Secret",
    )
}

/// What an earlier spec has asked for, unless something else has set it, too.
pub(super) fn content_is_stale(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    let template = input.certificate.spec.secret_template.clone().unwrap_or_default();
    let labels = template.labels.unwrap_or_default();
    let mut annotations = objects::secret::annotations(input.certificate, view.leaf()?);
    annotations.extend(template.annotations.unwrap_or_default());
    let data = objects::secret::data_keys(&input.certificate.spec);
    let is_stale_label = |name: &&String| *name != secret::FULL_ACCESS_LABEL && !labels.contains_key(*name);
    let label = view.owned.labels.iter().find(is_stale_label);
    // cert-manager's own annotations may be more than the operator's.
    let is_stale_annotation = |name: &&String| !name.starts_with(PREFIX) && !annotations.contains_key(*name);
    let annotation = view.owned.annotations.iter().find(is_stale_annotation);
    if let Some(name) = label.or(annotation) {
        return finding(
            Reason::SecretTemplateMismatch,
            format!("Certificate's SecretTemplate no longer has {name:?}, which is still on the Secret"),
        );
    }
    let is_stale = |key: &&String| {
        objects::secret::OPTIONAL_DATA_KEYS.contains(&key.as_str()) && !data.contains(&key.as_str())
    };
    let key = view.owned.data.iter().find(is_stale)?;
    finding(
        Reason::SecretMismatch,
        format!("Certificate's spec no longer asks for {key:?}, which is still in the Secret"),
    )
}

/// The flag that makes Certificates owners of their Secrets may have changed since the Secret was written.
pub(super) fn owner_differs(input: &Input<'_>) -> Option<Finding> {
    let uid = input.certificate.metadata.uid.as_ref()?;
    let owned = input.secret?.owned.owners.contains(uid);
    if owned == input.set_secret_owner_ref {
        return None;
    }
    finding(
        Reason::SecretOwnerRefMismatch,
        "The Secret's owner reference does not follow --enable-certificate-owner-ref",
    )
}

pub(super) fn formats_differ(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    let expected: BTreeSet<_> = input
        .certificate
        .spec
        .additional_output_formats
        .iter()
        .flatten()
        .map(|format| match format.type_ {
            OutputFormat::DER => secret::KEY_DER,
            OutputFormat::CombinedPEM => secret::TLS_COMBINED_PEM,
        })
        .collect();
    let fits = [(secret::KEY_DER, view.der_fits), (secret::TLS_COMBINED_PEM, view.combined_fits)];
    if fits.iter().all(|(name, fits)| *fits || !expected.contains(name)) {
        return None;
    }
    finding(
        Reason::AdditionalOutputFormatsMismatch,
        "Certificate's AdditionalOutputFormats are missing or differ in the Secret",
    )
}
