//! ACME renewal information (ARI, RFC 9773): when an issuer's server is asked when to renew, and what its response means.
//!
//! Knows the responses of a server; must not know how it is reached. Next: `../renewal.rs` for the times, `times.rs` for their effect.

use std::time::Duration;

use crds::{
    acme::RenewalInformationSource,
    certmanager::{RenewalInformation, RenewalPolicy, SuggestedWindow},
    condition::whole_seconds,
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{SecretView, View};
use crate::{
    acme::{AcmeError, Class, RenewalInfo},
    decision::renewal::{first_ari_check, next_ari_check},
    objects::{self, EventNote},
    pki::LeafCertificate,
    reason::Reason,
};

/// When a check is tried again that was due and could not be made.
const RETRY_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// A request to the issuer's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRenewalInfo {
    /// The certificate, by its identifier (RFC 9773 section 4.1).
    pub identifier: String,
}

/// What became of a request to the issuer's server.
#[derive(Debug)]
pub enum FetchedRenewalInfo {
    /// The issuer's account can't be used now, so the server was not asked.
    NoAccount,
    /// It is under way. Its response enqueues the Certificate.
    Awaited,
    /// What the server responded.
    Response(Result<RenewalInfo, AcmeError>),
}

/// The result of a check.
#[derive(Debug, Default)]
pub(super) struct Check {
    /// For the status.
    pub information: Option<RenewalInformation>,
    /// When the next check is.
    pub next: Option<Timestamp>,
    /// What went wrong.
    pub note: Option<EventNote>,
}

/// A certificate that a server may give renewal information for.
struct Subject<'a> {
    leaf: &'a LeafCertificate,
    identifier: String,
}

/// What is known about when to renew.
///
/// # Errors
/// A check is due: the server has to be asked first.
pub(super) fn check(view: &View<'_>) -> Result<Check, FetchRenewalInfo> {
    let Some(subject) = subject(view) else { return Ok(Check::default()) };
    let known = known(view);
    if view.issuer.is_none_or(|issuer| !issuer.ready) {
        // It is asked later. What it has said is not lost.
        let next = known.and_then(|_| view.now.checked_add(RETRY_AFTER).ok());
        return Ok(Check { information: known.cloned(), next, note: None });
    }
    let (information, note) = match (due(view), &view.obtained.renewal_info) {
        (Some(fetch), None) => return Err(fetch),
        (Some(_), Some(FetchedRenewalInfo::Response(response))) => {
            on_renewal_info(known, response, view.now, &view.certificate.uid().unwrap_or_default())
        }
        (Some(_), Some(FetchedRenewalInfo::NoAccount | FetchedRenewalInfo::Awaited)) | (None, _) => {
            (known.cloned(), None)
        }
    };
    let next = next_check(view, information.as_ref(), subject.leaf)
        .and_then(|time| if time > view.now { Some(time) } else { view.now.checked_add(RETRY_AFTER).ok() });
    Ok(Check { information, next, note })
}

/// The request to make now, if a check is due.
pub(super) fn due(view: &View<'_>) -> Option<FetchRenewalInfo> {
    let Subject { leaf, identifier } = subject(view)?;
    let time = next_check(view, known(view), leaf)?;
    (time <= view.now).then_some(FetchRenewalInfo { identifier })
}

/// What a response means: the renewal information that is known now, none if the server does not offer any, and what to report. A failed
/// check is never fatal: the last known window, or the formula of the spec, stays in effect.
pub(super) fn on_renewal_info(
    known: Option<&RenewalInformation>,
    response: &Result<RenewalInfo, AcmeError>,
    now: Timestamp,
    uid: &str,
) -> (Option<RenewalInformation>, Option<EventNote>) {
    let next = |retry_after: Option<Duration>| whole_seconds(next_ari_check(now, retry_after, uid));
    match response {
        Ok(info) => {
            let information = RenewalInformation {
                explanation_url: info.explanation_url.clone(),
                last_checked: Some(whole_seconds(now)),
                last_error: None,
                next_check: Some(next(info.retry_after)),
                suggested_window: Some(SuggestedWindow {
                    start: Some(whole_seconds(info.suggested_window.start)),
                    end: Some(whole_seconds(info.suggested_window.end)),
                }),
            };
            (Some(information), None)
        }
        Err(AcmeError::Unsupported(_)) => (None, None),
        Err(error) => {
            // Not the general reaction to errors: RFC 9773 section 4.3.3 has longer delays and bounds of its own.
            let retry_after = match error.class() {
                Class::RateLimited { retry_after } => retry_after,
                Class::Fatal | Class::Refused | Class::Transient => None,
            };
            // Without the time itself: Kubernetes merges events that begin alike, and keeps the text of the first.
            let message = format!(
                "failed to fetch renewal information: {error}; the next attempt is at status.acme.ari.nextCheck"
            );
            let information = RenewalInformation {
                last_checked: Some(whole_seconds(now)),
                last_error: Some(error.to_string()),
                next_check: Some(next(retry_after)),
                ..known.cloned().unwrap_or_default()
            };
            (Some(information), Some(EventNote::warning(Reason::ARIError, message)))
        }
    }
}

/// The identifier of the certificate that the next one replaces, if the server offers renewal information. A certificate of another
/// issuer, or without a DNS name in common, is not a replacement.
pub(super) fn replaced_certificate(view: &View<'_>) -> Option<String> {
    let Subject { leaf, identifier } = subject(view).filter(|_| view.issuer.is_some_and(|it| it.ready))?;
    let names = view.certificate.spec.dns_names.as_deref().unwrap_or_default();
    let issued_by = objects::secret::issuer_of(&view.secret?.annotations);
    let is_renewal = issued_by.identity() == view.certificate.spec.issuer_ref.identity()
        && names.iter().any(|name| leaf.dns_names.contains(name));
    is_renewal.then_some(identifier)
}

fn known<'a>(view: &View<'a>) -> Option<&'a RenewalInformation> {
    view.certificate.status.as_ref()?.acme.as_ref()?.ari.as_ref()
}

/// The certificate in the Secret, if it is one to renew and its issuer's server can be asked about it.
fn subject<'a>(view: &View<'a>) -> Option<Subject<'a>> {
    let source = view.issuer.and_then(|issuer| issuer.renewal_information_source);
    let policy = view.certificate.spec.renewal.as_ref().and_then(|renewal| renewal.policy);
    if source == Some(RenewalInformationSource::None) || policy == Some(RenewalPolicy::Disabled) {
        return None;
    }
    let leaf = view.secret.filter(|secret| !secret.temporary).and_then(SecretView::leaf)?;
    Some(Subject { leaf, identifier: leaf.ari_id()? })
}

/// When the server is asked next; `None` for a certificate that lives too short for it.
fn next_check(
    view: &View<'_>,
    known: Option<&RenewalInformation>,
    leaf: &LeafCertificate,
) -> Option<Timestamp> {
    if let Some(next) = known.and_then(|known| known.next_check.as_ref()) {
        return Some(next.0);
    }
    let uid = view.certificate.uid().unwrap_or_default();
    let wait = first_ari_check(leaf.not_before, leaf.not_after, &uid)?;
    leaf.not_before.max(view.started).checked_add(wait).ok()
}
