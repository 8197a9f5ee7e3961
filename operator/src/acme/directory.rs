//! The directory of an ACME server, RFC 8555 section 7.1.1.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The URLs and features that an ACME server offers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// URL that returns nonces.
    pub new_nonce: String,
    /// URL that creates and finds accounts.
    pub new_account: String,
    /// URL that creates orders.
    pub new_order: String,
    /// URL that revokes certificates.
    pub revoke_cert: Option<String>,
    /// Base URL of renewal information, RFC 9773. Not every server offers it.
    pub renewal_info: Option<String>,
    /// Optional properties of the server.
    #[serde(default)]
    pub meta: DirectoryMeta,
}

/// Optional properties of an ACME server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryMeta {
    /// URL of the terms of service that an account agrees to.
    pub terms_of_service: Option<String>,
    /// URL of a website about the server.
    pub website: Option<String>,
    /// Names of the CA in CAA records, RFC 8659.
    #[serde(default)]
    pub caa_identities: Vec<String>,
    /// Whether a new account needs an external account binding, RFC 8555 section 7.3.4.
    #[serde(default)]
    pub external_account_required: bool,
    /// The profiles that an order may request: name to description. Empty if the server has no profiles.
    #[serde(default)]
    pub profiles: BTreeMap<String, String>,
}
