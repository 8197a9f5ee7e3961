//! What is known when a decision about a Certificate is made. Next: `prerequisite.rs` for what is obtained only if a decision asks for it.

use std::sync::Arc;

use crds::{
    acme::RenewalInformationSource,
    certmanager::{Certificate, CertificateRequest},
};
use jiff::Timestamp;

use super::{Obtained, Pace, SecretView};
use crate::{decision::backoff::IssuanceBackoff, pki::PrivateKey};

/// What a decision about a Certificate depends on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The Certificate.
    pub certificate: &'a Certificate,
    /// Its Secret, if that exists.
    pub secret: Option<&'a SecretView>,
    /// The CertificateRequests that it owns.
    pub requests: &'a [Arc<CertificateRequest>],
    /// The name of the next CertificateRequest.
    pub next_request_name: &'a str,
    /// A CertificateRequest that has this name, and was left behind by a Certificate of the same name.
    pub left_behind: Option<&'a CertificateRequest>,
    /// Whether this process has just created one with this name, which the cache may not show yet.
    pub is_requested: bool,
    /// Why the Order of the request in progress is waiting, if it says so.
    pub order_reason: Option<&'a str>,
    /// Whether the CA counts a failure of that Order: it was placed, and has not just expired.
    pub order_counts: bool,
    /// Other Certificates with the same `spec.secretName`: the first [`MOST_RIVALS`](super::MOST_RIVALS) and one more.
    pub rivals: &'a [Arc<Certificate>],
    /// The private key of the next issuance.
    pub next_key: NextKey<'a>,
    /// The Secret with the key of the issued revision, if a process ended before it could delete it.
    pub past_key: Option<&'a str>,
    /// Its issuer, if that is an ACME issuer.
    pub issuer: Option<IssuerView>,
    /// The type of its issuer, by the name of its field in `spec`, if this operator does not implement it.
    pub unsupported: Option<&'static str>,
    /// The issuances that this process has begun in a row.
    pub pace: Option<Pace>,
    /// When an object of a backup was last created in the namespace, UTC: others may follow.
    pub restored: Option<Timestamp>,
    /// Why the last reconcile failed, and when the next one is.
    pub problem: Option<&'a str>,
    /// What its user should know although it is issued.
    pub advice: Option<&'a str>,
    /// What earlier decisions of this reconcile have asked for.
    pub obtained: &'a Obtained,
    /// How long failed issuances back off.
    pub backoff: IssuanceBackoff,
    /// Whether a Secret has its Certificate as owner, so that it is deleted with it.
    pub set_secret_owner_ref: bool,
    /// When the process started, UTC.
    pub started: Timestamp,
    /// UTC.
    pub now: Timestamp,
}

/// The private key of the next issuance, and the Secret that keeps it until the certificate is issued.
#[derive(Clone, Copy, Debug)]
pub struct NextKey<'a> {
    /// The name of the Secret.
    pub secret_name: &'a str,
    /// The key, once it is stored there.
    pub key: Option<&'a Arc<PrivateKey>>,
}

/// What matters of an ACME issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerView {
    /// Whether its account can be used.
    pub ready: bool,
    /// `spec.acme.renewalInformationSource`.
    pub renewal_information_source: Option<RenewalInformationSource>,
}
