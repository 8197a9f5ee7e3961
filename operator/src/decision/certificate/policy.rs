//! Is what stands in the Secret what the Certificate asks for? Small rules, asked in order; the first that finds something
//! names the reason. The reasons and their order are cert-manager's.

use std::collections::BTreeSet;

use crds::{
    annotations::secret,
    certmanager::{Certificate, CertificateRequest, OutputFormat},
};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter, tz::TimeZone};

use super::{DesiredCertificate, Part, SecretView};
use crate::{
    objects::{self, metadata::includes},
    pki::Csr,
};

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// For programs: one word in PascalCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    /// The Certificate.
    pub certificate: &'a Certificate,
    /// Its spec, read.
    pub desired: &'a DesiredCertificate,
    /// Its Secret, if there is one.
    pub secret: Option<&'a SecretView>,
    /// The CertificateRequest of the revision in the Secret with its CSR, where it is kept.
    pub current_request: Option<(&'a CertificateRequest, &'a Csr)>,
    /// When to renew.
    pub renewal_time: Option<Timestamp>,
    /// UTC.
    pub now: Timestamp,
}

type Rule = fn(&Input<'_>) -> Option<Finding>;

/// What both chains ask first.
const STATE: [Rule; 9] = [
    secret_does_not_exist,
    secret_lacks_data,
    key_pair_is_invalid,
    certificate_is_temporary,
    issuer_differs,
    certificate_differs,
    key_differs_from_spec,
    key_differs_from_request,
    request_or_leaf_differs_from_spec,
];

/// Why a new certificate is needed now, if it is.
pub(super) fn trigger(input: &Input<'_>) -> Option<Finding> {
    STATE.iter().find_map(|rule| rule(input)).or_else(|| renewal_is_due(input))
}

/// Why the Secret can't be relied on, if that is so. One that is due for renewal can.
pub(super) fn unready(input: &Input<'_>) -> Option<Finding> {
    STATE.iter().find_map(|rule| rule(input)).or_else(|| has_expired(input))
}

/// What is to be written anew around the certificate, which itself is good: labels, annotations, further forms.
pub(super) fn rewrite(input: &Input<'_>) -> Option<Finding> {
    const RULES: [Rule; 4] = [keystores_are_missing, metadata_differs, template_differs, formats_differ];
    RULES.iter().find_map(|rule| rule(input))
}

#[expect(clippy::unnecessary_wraps, reason = "it is what every rule returns")]
fn finding(reason: &'static str, message: impl Into<String>) -> Option<Finding> {
    Some(Finding { reason, message: message.into() })
}

fn secret_does_not_exist(input: &Input<'_>) -> Option<Finding> {
    if input.secret.is_some() {
        return None;
    }
    finding("DoesNotExist", "Issuing certificate as Secret does not exist")
}

fn secret_lacks_data(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    let what = if !view.has_data {
        "any data"
    } else if view.key == Part::Missing {
        "a private key"
    } else if view.leaf == Part::Missing {
        "a certificate"
    } else {
        return None;
    };
    finding("MissingData", format!("Issuing certificate as Secret does not contain {what}"))
}

fn key_pair_is_invalid(input: &Input<'_>) -> Option<Finding> {
    match (&input.secret?.key, &input.secret?.leaf) {
        (Part::Invalid(why), _) => finding(
            "InvalidKeyPair",
            format!("Issuing certificate as Secret contains invalid private key data: {why}"),
        ),
        (_, Part::Invalid(why)) => finding(
            "InvalidCertificate",
            format!("Issuing certificate as Secret contains an invalid certificate: {why}"),
        ),
        (Part::Valid(key), Part::Valid(leaf)) if key.public_key_der != leaf.public_key_der => finding(
            "InvalidKeyPair",
            "Issuing certificate as Secret contains a private key that does not match the certificate",
        ),
        _ => None,
    }
}

fn certificate_is_temporary(input: &Input<'_>) -> Option<Finding> {
    if !input.secret?.temporary {
        return None;
    }
    finding("DoesNotExist", "Issuing certificate as Secret holds a temporary certificate that nobody trusts")
}

fn issuer_differs(input: &Input<'_>) -> Option<Finding> {
    let of = objects::secret::issuer_of(&input.secret?.annotations);
    if of.identity() == input.certificate.spec.issuer_ref.identity() {
        return None;
    }
    let was = of.identity();
    finding(
        "IncorrectIssuer",
        format!(
            "Issuing certificate as Secret was previously issued by \"{}.{}/{}\"",
            was.kind, was.group, was.name
        ),
    )
}

fn certificate_differs(input: &Input<'_>) -> Option<Finding> {
    let other = input.secret?.certificate_name()?;
    if Some(other) == input.certificate.metadata.name.as_deref() {
        return None;
    }
    finding(
        "IncorrectCertificate",
        format!(
            "Secret was issued for {other:?}. If this message is not transient, you might have two conflicting \
             Certificates pointing to the same secret."
        ),
    )
}

fn key_differs_from_spec(input: &Input<'_>) -> Option<Finding> {
    let Part::Valid(key) = &input.secret?.key else { return None };
    let differences = input.desired.differs_from_key(key.kind);
    if differences.is_empty() {
        return None;
    }
    finding(
        "SecretMismatch",
        format!("Existing private key is not up to date for spec: [{}]", differences.join(" ")),
    )
}

fn key_differs_from_request(input: &Input<'_>) -> Option<Finding> {
    let Part::Valid(key) = &input.secret?.key else { return None };
    if input.current_request?.1.public_key_der == key.public_key_der {
        return None;
    }
    finding(
        "SecretMismatch",
        "Secret contains a private key that does not match the current CertificateRequest",
    )
}

fn request_or_leaf_differs_from_spec(input: &Input<'_>) -> Option<Finding> {
    if let Some((request, csr)) = input.current_request {
        let differences = input.desired.differs_from_request(input.certificate, request, csr);
        if differences.is_empty() {
            return None;
        }
        let fields = differences.join(" ");
        return finding(
            "RequestChanged",
            format!("Fields on existing CertificateRequest resource not up to date: [{fields}]"),
        );
    }
    let differences = input.desired.differs_from_leaf(&input.certificate.spec, input.secret?.leaf()?);
    if differences.is_empty() {
        return None;
    }
    finding(
        "SecretMismatch",
        format!(
            "Issuing certificate as Existing issued Secret is not up to date for spec: [{}]",
            differences.join(" ")
        ),
    )
}

fn renewal_is_due(input: &Input<'_>) -> Option<Finding> {
    let time = input.renewal_time.filter(|time| *time <= input.now)?;
    finding("Renewing", format!("Renewing certificate as renewal was scheduled at {time}"))
}

fn has_expired(input: &Input<'_>) -> Option<Finding> {
    let not_after = input.secret?.leaf()?.not_after;
    if not_after >= input.now {
        return None;
    }
    let time = not_after.to_zoned(TimeZone::UTC);
    let time = DateTimePrinter::new().zoned_to_string(&time).unwrap_or_else(|_| not_after.to_string());
    finding("Expired", format!("Certificate expired on {time}"))
}

fn keystores_are_missing(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    let stores = input.certificate.spec.keystores.as_ref()?;
    let lacks = |name: &str| !view.present.iter().any(|present| present == name);
    let jks = stores.jks.as_ref().is_some_and(|store| store.create);
    let pkcs12 = stores.pkcs12.as_ref().is_some_and(|store| store.create);
    if jks && lacks(objects::secret::JKS) {
        return finding("SecretMismatch", "JKS Keystore key does not contain data");
    }
    if pkcs12 && lacks(objects::secret::PKCS12) {
        return finding("SecretMismatch", "PKCS12 Keystore key does not contain data");
    }
    None
}

fn metadata_differs(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    let wanted = objects::secret::annotations(input.certificate, view.leaf()?);
    let issuer = [secret::ISSUER_NAME, secret::ISSUER_KIND, secret::ISSUER_GROUP];
    let same = wanted
        .iter()
        // Who the issuer is has its own rule, which knows the defaults.
        .filter(|(name, _)| !issuer.contains(&name.as_str()))
        .all(|(name, value)| view.annotations.get(name) == Some(value))
        && view.labels.get(secret::FULL_ACCESS_LABEL).is_some_and(|value| value == "true");
    if same {
        return None;
    }
    finding("SecretManagedMetadataMismatch", "Secret's own labels and annotations are not up to date")
}

fn template_differs(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    let template = input.certificate.spec.secret_template.as_ref()?;
    let has = |all, these: &Option<_>| these.as_ref().is_none_or(|these| includes(all, these));
    if has(&view.annotations, &template.annotations) && has(&view.labels, &template.labels) {
        return None;
    }
    finding("SecretTemplateMismatch", "Certificate's SecretTemplate is missing or differs on the Secret")
}

fn formats_differ(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    let wanted: BTreeSet<_> = input
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
    if fits.iter().all(|(name, fits)| *fits || !wanted.contains(name)) {
        return None;
    }
    finding(
        "AdditionalOutputFormatsMismatch",
        "Certificate's AdditionalOutputFormats are missing or differ in the Secret",
    )
}
