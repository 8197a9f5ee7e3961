//! What an ACME server offers and where, RFC 8555 section 7.1.1.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The directory of a server.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    /// Where nonces come from.
    pub new_nonce: String,
    /// Where accounts are made and found.
    pub new_account: String,
    /// Where orders are placed.
    pub new_order: String,
    /// Where certificates are revoked.
    pub revoke_cert: Option<String>,
    /// Where renewal information is, RFC 9773; not all servers have it.
    pub renewal_info: Option<String>,
    /// What else there is to know.
    #[serde(default)]
    pub meta: DirectoryMeta,
}

/// What else there is to know of a server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryMeta {
    /// URL of the terms that an account agrees to.
    pub terms_of_service: Option<String>,
    /// URL of a page about the server.
    pub website: Option<String>,
    /// What CAA records call the CA, RFC 8659.
    #[serde(default)]
    pub caa_identities: Vec<String>,
    /// Whether a new account must be bound to one that exists elsewhere.
    #[serde(default)]
    pub external_account_required: bool,
    /// Profiles by name, each with a text about it.
    #[serde(default)]
    pub profiles: BTreeMap<String, String>,
}
