//! Whether the operator may manage the Secret, and whether the Secret contains what the Certificate asks for: chains of small rules. The
//! first rule that finds something gives the reason.
//!
//! Reasons and their order are cert-manager's. Next: `admissible.rs`, `state.rs`, `rewrite.rs` for the rules.

mod admissible;
mod rewrite;
mod state;

use crds::certmanager::{Certificate, CertificateRequest};
use jiff::Timestamp;

pub use self::admissible::MOST_RIVALS;
#[cfg(test)]
pub(super) use self::admissible::RIVAL_DELAY;
pub(super) use self::admissible::admit;
use self::{
    rewrite::{content_is_stale, formats_differ, metadata_differs, owner_differs, template_differs},
    state::{
        certificate_differs, certificate_is_temporary, has_expired, issuer_differs, key_differs_from_request,
        key_differs_from_spec, key_pair_is_invalid, renewal_is_due, request_or_leaf_differs_from_spec,
        secret_does_not_exist, secret_lacks_data,
    },
};
use super::{DesiredCertificate, SecretView};
use crate::{pki::Csr, reason::Reason};

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// For programs.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// What the rules about the Secret's content compare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a> {
    /// The Certificate.
    pub certificate: &'a Certificate,
    /// Its parsed spec.
    pub desired: &'a DesiredCertificate,
    /// Its Secret, if that exists.
    pub secret: Option<&'a SecretView>,
    /// The CertificateRequest of the issued revision and its CSR, if it has not been deleted.
    pub current_request: Option<(&'a CertificateRequest, &'a Csr)>,
    /// Whether a Secret has its Certificate as owner.
    pub set_secret_owner_ref: bool,
    /// When to renew.
    pub renewal_time: Option<Timestamp>,
    /// UTC.
    pub now: Timestamp,
}

type Rule = fn(&Input<'_>) -> Option<Finding>;

/// The first rules of both `trigger` and `unready`.
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

/// Why a new certificate has to be issued now, if so.
pub(super) fn trigger(input: &Input<'_>) -> Option<Finding> {
    STATE.iter().find_map(|rule| rule(input)).or_else(|| renewal_is_due(input))
}

/// Why the Secret can't be relied on, if so. One that is due for renewal can.
pub(super) fn unready(input: &Input<'_>) -> Option<Finding> {
    STATE.iter().find_map(|rule| rule(input)).or_else(|| has_expired(input))
}

/// Why labels, annotations or other formats have to be rewritten around a good certificate, if so.
pub(super) fn rewrite(input: &Input<'_>) -> Option<Finding> {
    const RULES: [Rule; 5] =
        [metadata_differs, template_differs, formats_differ, content_is_stale, owner_differs];
    RULES.iter().find_map(|rule| rule(input))
}

#[expect(clippy::unnecessary_wraps, reason = "every rule returns an Option")]
fn finding(reason: Reason, message: impl Into<String>) -> Option<Finding> {
    Some(Finding { reason, message: message.into() })
}
