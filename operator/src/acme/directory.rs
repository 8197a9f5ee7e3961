//! The directory of an ACME server, RFC 8555 section 7.1.1.

use std::collections::BTreeMap;

use hyper::Uri;
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

impl Directory {
    /// Whether a URL is at a host and port that this directory names, or at which it is itself.
    pub(super) fn covers(&self, directory_url: &str, url: &str) -> bool {
        let named = [directory_url, &self.new_nonce, &self.new_account, &self.new_order];
        let optional = [&self.revoke_cert, &self.renewal_info].into_iter().flatten().map(String::as_str);
        let wanted = authority(url);
        wanted.is_some() && named.into_iter().chain(optional).any(|named| authority(named) == wanted)
    }
}

/// The host, in lowercase, and the port of an https URL.
pub(super) fn authority(url: &str) -> Option<(String, u16)> {
    let uri = url.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("https"))?;
    Some((uri.host()?.to_lowercase(), uri.port_u16().unwrap_or(443)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_covers_only_hosts_that_it_names() {
        let directory: Directory = serde_json::from_value(serde_json::json!({
            "newNonce": "https://ca.test/nonce",
            "newAccount": "https://accounts.ca.test:8443/new",
            "newOrder": "https://ca.test/order",
        }))
        .expect("a directory");
        for (url, covered) in [
            ("https://ca.test/authz/1", true),
            ("https://CA.test:443/authz/1", true),
            ("https://accounts.ca.test:8443/1", true),
            ("https://proxy.test/order/1", true),
            ("https://accounts.ca.test/1", false),
            ("https://ca.test:8443/1", false),
            ("https://ca.test.evil.test/1", false),
            ("https://ca.test@evil.test/1", false),
            ("http://ca.test/1", false),
            ("/authz/1", false),
            ("", false),
        ] {
            assert_eq!(directory.covers("https://proxy.test/dir", url), covered, "{url}");
        }
    }
}
