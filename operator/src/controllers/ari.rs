//! ACME renewal information, RFC 9773: asks issuers' servers when to renew, now and then.

use std::time::Duration;

use crds::{
    acme::RenewalInformationSource,
    certmanager::{Certificate, RenewalInformation, RenewalPolicy, SuggestedWindow},
    condition::whole_seconds,
};
use jiff::Timestamp;
use kube::ResourceExt;

use super::RESYNC;
use crate::{
    acme::{AcmeError, Class},
    cache::{AnyIssuer, IssuerLookup},
    context::Context,
    decision::{
        certificate::SecretView,
        renewal::{first_ari_check, next_ari_check},
    },
    objects::EventNote,
    pki::LeafCertificate,
};

const MANAGER: &str = "cert-manager-certificates-trigger";

/// What is known of when to renew; the server is asked if it is time. That it does not answer is no reason not to go on.
pub(super) async fn look(
    context: &Context,
    certificate: &Certificate,
    secret: Option<&SecretView>,
) -> Option<RenewalInformation> {
    let known = certificate.status.as_ref().and_then(|status| status.acme.as_ref()?.ari.clone());
    let (leaf, issuer) = asked_for(context, certificate, secret)?;
    let identifier = leaf.ari_id()?;
    let now = context.now();
    if next_look(context, certificate, known.as_ref(), leaf).is_none_or(|time| time > now) {
        return known;
    }
    // An issuer that can't be used now can't be asked, and need not be.
    let Ok(account) = context.account(&issuer).await else { return known };
    let uid = certificate.uid().unwrap_or_default();
    let information = match account.renewal_info(&identifier).await {
        // Nothing to ask here.
        Err(AcmeError::Unsupported(_)) => return None,
        Ok(info) => RenewalInformation {
            explanation_url: info.explanation_url,
            last_checked: Some(whole_seconds(now)),
            last_error: None,
            next_check: Some(whole_seconds(next_ari_check(now, info.retry_after, &uid))),
            suggested_window: Some(SuggestedWindow {
                start: Some(whole_seconds(info.suggested_window.start)),
                end: Some(whole_seconds(info.suggested_window.end)),
            }),
        },
        Err(error) => {
            let message = format!("failed to ask the ACME server when to renew: {error}");
            context.kube.publish(MANAGER, &EventNote::warning("ARIError", message), certificate);
            let retry_after = match error.class() {
                Class::RateLimited { retry_after } => retry_after,
                Class::Fatal | Class::Refused | Class::Transient => None,
            };
            RenewalInformation {
                last_checked: Some(whole_seconds(now)),
                last_error: Some(error.to_string()),
                next_check: Some(whole_seconds(next_ari_check(now, retry_after, &uid))),
                ..known.unwrap_or_default()
            }
        }
    };
    Some(information)
}

/// The identifier of the certificate that the next one replaces, where the server counts that.
pub(super) fn replaced(
    context: &Context,
    certificate: &Certificate,
    secret: Option<&SecretView>,
) -> Option<String> {
    let (leaf, _) = asked_for(context, certificate, secret)?;
    // One for other names is another certificate.
    let names = certificate.spec.dns_names.as_deref().unwrap_or_default();
    let shares = names.iter().any(|name| leaf.dns_names.contains(name));
    if shares { leaf.ari_id() } else { None }
}

/// The leaf and its issuer, where the issuer's server is one to be asked.
fn asked_for<'a>(
    context: &Context,
    certificate: &Certificate,
    secret: Option<&'a SecretView>,
) -> Option<(&'a LeafCertificate, AnyIssuer)> {
    let leaf = secret.filter(|secret| !secret.temporary)?.leaf()?;
    let policy = certificate.spec.renewal.as_ref().and_then(|renewal| renewal.policy);
    let namespace = certificate.namespace().unwrap_or_default();
    let IssuerLookup::Found(issuer) = context.cache.issuer(&certificate.spec.issuer_ref, &namespace) else {
        return None;
    };
    let source = issuer.config.acme().as_ref()?.renewal_information_source;
    let asked = policy != Some(RenewalPolicy::Disabled) && source != Some(RenewalInformationSource::None);
    (asked && issuer.is_ready()).then_some((leaf, *issuer))
}

/// When the server is to be asked next.
fn next_look(
    context: &Context,
    certificate: &Certificate,
    known: Option<&RenewalInformation>,
    leaf: &LeafCertificate,
) -> Option<Timestamp> {
    if let Some(next) = known.and_then(|known| known.next_check.as_ref()) {
        return Some(next.0);
    }
    let uid = certificate.uid().unwrap_or_default();
    let wait = first_ari_check(leaf.not_before, leaf.not_after, &uid)?;
    leaf.not_before.max(context.memory.started).checked_add(wait).ok()
}

/// How long until the server is to be asked, after a look that knows this; what it could not be asked is asked in an hour.
pub(super) fn until_next_look(
    context: &Context,
    certificate: &Certificate,
    known: Option<&RenewalInformation>,
    secret: Option<&SecretView>,
) -> Option<Duration> {
    let (leaf, _) = asked_for(context, certificate, secret)?;
    let wait = next_look(context, certificate, known, leaf)?.duration_since(context.now());
    Some(Duration::try_from(wait).ok().filter(|wait| !wait.is_zero()).unwrap_or(RESYNC))
}
