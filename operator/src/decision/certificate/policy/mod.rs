//! Is what stands in the Secret what the Certificate asks for? Small rules, asked in order; the first that finds something
//! names the reason. The reasons and their order are cert-manager's.

mod rewrite;
mod state;

use crds::certmanager::{Certificate, CertificateRequest};
use jiff::Timestamp;

use self::{
    rewrite::{formats_differ, keystores_are_missing, metadata_differs, template_differs},
    state::{
        certificate_differs, certificate_is_temporary, has_expired, issuer_differs, key_differs_from_request,
        key_differs_from_spec, key_pair_is_invalid, renewal_is_due, request_or_leaf_differs_from_spec,
        secret_does_not_exist, secret_lacks_data,
    },
};
use super::{DesiredCertificate, SecretView};
use crate::pki::Csr;

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
