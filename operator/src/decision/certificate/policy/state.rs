//! Rules about the certificate and the key in the Secret: what they find triggers an issuance, or makes the Certificate unready.

use crds::annotations::secret;
use jiff::{fmt::rfc2822::DateTimePrinter, tz::TimeZone};

use super::{Finding, Input, finding};
use crate::{
    decision::certificate::{Origin, Part},
    objects,
    reason::Reason,
};

pub(super) fn secret_does_not_exist(input: &Input<'_>) -> Option<Finding> {
    if input.secret.is_some() {
        return None;
    }
    finding(Reason::DoesNotExist, "Issuing certificate as Secret does not exist")
}

pub(super) fn secret_lacks_data(input: &Input<'_>) -> Option<Finding> {
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
    finding(Reason::MissingData, format!("Issuing certificate as Secret does not contain {what}"))
}

pub(super) fn key_pair_is_invalid(input: &Input<'_>) -> Option<Finding> {
    match (&input.secret?.key, &input.secret?.leaf) {
        (Part::Invalid(why), _) => finding(
            Reason::InvalidKeyPair,
            format!("Issuing certificate as Secret contains invalid private key data: {why}"),
        ),
        (_, Part::Invalid(why)) => finding(
            Reason::InvalidCertificate,
            format!("Issuing certificate as Secret contains an invalid certificate: {why}"),
        ),
        (Part::Valid(key), Part::Valid(leaf)) if key.public_key_der != leaf.public_key_der => finding(
            Reason::InvalidKeyPair,
            "Issuing certificate as Secret contains a private key that does not match the certificate",
        ),
        _ => None,
    }
}

pub(super) fn certificate_is_temporary(input: &Input<'_>) -> Option<Finding> {
    if !input.secret?.temporary {
        return None;
    }
    finding(Reason::DoesNotExist, "Issuing certificate as Secret contains a temporary certificate")
}

pub(super) fn issuer_differs(input: &Input<'_>) -> Option<Finding> {
    let view = input.secret?;
    if !view.annotations.contains_key(secret::ISSUER_NAME)
        && input.current_request.is_some_and(|(_, csr)| view.has_key_of(csr))
    {
        // The annotations were removed. The rest is what was issued for this Certificate.
        return None;
    }
    if view.origin == Origin::Handmade {
        return finding(
            Reason::IncorrectIssuer,
            "Issuing certificate as Secret was not issued for a Certificate. The certificate in it is served until the new one \
             replaces it",
        );
    }
    let issuer = objects::secret::issuer_of(&view.annotations);
    let previous = issuer.identity();
    if previous == input.certificate.spec.issuer_ref.identity() {
        return None;
    }
    finding(
        Reason::IncorrectIssuer,
        format!(
            "Issuing certificate as Secret was previously issued by \"{}.{}/{}\"",
            previous.kind, previous.group, previous.name
        ),
    )
}

pub(super) fn certificate_differs(input: &Input<'_>) -> Option<Finding> {
    let other = input.secret?.certificate_name()?;
    if Some(other) == input.certificate.metadata.name.as_deref() {
        return None;
    }
    finding(
        Reason::IncorrectCertificate,
        format!(
            "Secret was issued for {other:?}. If this message is not transient, you might have two conflicting \
             Certificates pointing to the same secret."
        ),
    )
}

pub(super) fn key_differs_from_spec(input: &Input<'_>) -> Option<Finding> {
    let Part::Valid(key) = &input.secret?.key else { return None };
    let differences = input.desired.differs_from_key(key.kind);
    if differences.is_empty() {
        return None;
    }
    finding(
        Reason::SecretMismatch,
        format!("Existing private key is not up to date for spec: [{}]", differences.join(" ")),
    )
}

pub(super) fn key_differs_from_request(input: &Input<'_>) -> Option<Finding> {
    let Part::Valid(key) = &input.secret?.key else { return None };
    if input.current_request?.1.public_key_der == key.public_key_der {
        return None;
    }
    finding(
        Reason::SecretMismatch,
        "Secret contains a private key that does not match the current CertificateRequest",
    )
}

pub(super) fn request_or_leaf_differs_from_spec(input: &Input<'_>) -> Option<Finding> {
    if let Some((request, csr)) = input.current_request {
        let differences = input.desired.differs_from_request(input.certificate, request, csr);
        if differences.is_empty() {
            return None;
        }
        let fields = differences.join(" ");
        return finding(
            Reason::RequestChanged,
            format!("Fields on existing CertificateRequest resource not up to date: [{fields}]"),
        );
    }
    let differences = input.desired.differs_from_leaf(&input.certificate.spec, input.secret?.leaf()?);
    if differences.is_empty() {
        return None;
    }
    finding(
        Reason::SecretMismatch,
        format!(
            "Issuing certificate as Existing issued Secret is not up to date for spec: [{}]",
            differences.join(" ")
        ),
    )
}

pub(super) fn renewal_is_due(input: &Input<'_>) -> Option<Finding> {
    let time = input.renewal_time.filter(|time| *time <= input.now)?;
    finding(Reason::Renewing, format!("Renewing certificate as renewal was scheduled at {time}"))
}

pub(super) fn has_expired(input: &Input<'_>) -> Option<Finding> {
    let not_after = input.secret?.leaf()?.not_after;
    if not_after >= input.now {
        return None;
    }
    let time = not_after.to_zoned(TimeZone::UTC);
    let time = DateTimePrinter::new().zoned_to_string(&time).unwrap_or_else(|_| not_after.to_string());
    finding(Reason::Expired, format!("Certificate expired on {time}"))
}
