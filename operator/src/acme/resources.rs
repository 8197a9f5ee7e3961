//! Orders, authorizations, renewal information and chains, as they are sent and received.

use std::time::Duration;

use instant_acme::{AuthorizationStatus, Challenge, Identifier, OrderStatus, Problem};
use jiff::Timestamp;
use serde::Deserialize;

/// What is ordered.
#[derive(Clone, Debug, Default)]
pub struct NewOrder {
    /// The names: one at least.
    pub identifiers: Vec<Identifier>,
    /// The profile, one of those in the directory.
    pub profile: Option<String>,
    /// When the certificate shall end. Most servers refuse to be told.
    pub not_after: Option<Timestamp>,
    /// The certificate that is replaced, by its identifier of RFC 9773 section 4.1.
    pub replaces: Option<String>,
}

/// An order as the server has it, RFC 8555 section 7.1.3.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderState {
    /// How far it is.
    pub status: OrderStatus,
    /// Until when it can be gone on with.
    pub expires: Option<Timestamp>,
    /// The names.
    #[serde(default)]
    pub identifiers: Vec<Identifier>,
    /// URLs of what the server wants to be shown, one for each name.
    #[serde(default)]
    pub authorizations: Vec<String>,
    /// Why it failed; not every server says it here.
    pub error: Option<Problem>,
    /// Where the CSR goes.
    pub finalize: String,
    /// Where the certificate is, once it is `valid`.
    pub certificate: Option<String>,
    /// The certificate that is replaced, where the server took it so, RFC 9773 section 5.
    pub replaces: Option<String>,
    /// How long to wait before it is looked at again, if the server said so.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// An authorization as the server has it, RFC 8555 section 7.1.4.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationState {
    /// The name, without `*.`.
    pub identifier: Identifier,
    /// How far it is. Servers reuse what is `valid`.
    pub status: AuthorizationStatus,
    /// Until when it can be used.
    pub expires: Option<Timestamp>,
    /// How it can be shown.
    #[serde(default)]
    pub challenges: Vec<Challenge>,
    /// Whether it is for all names one label below.
    #[serde(default)]
    pub wildcard: bool,
    /// How long to wait before it is looked at again, if the server said so.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// When to renew, RFC 9773 section 4.2.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalInfo {
    /// From when until when.
    pub suggested_window: RenewalWindow,
    /// A page that says why.
    #[serde(rename = "explanationURL")]
    pub explanation_url: Option<String>,
    /// How long to wait before asking again; the RFC's six hours where the server does not say.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// A time in which to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RenewalWindow {
    /// From here on, UTC.
    pub start: Timestamp,
    /// Up to here, UTC.
    pub end: Timestamp,
}

/// The chains of one certificate, as PEM: the default one first.
#[derive(Clone, Debug)]
pub struct CertificateChains {
    /// The one that comes without asking.
    pub default: String,
    /// URLs of the others.
    pub alternates: Vec<String>,
}
