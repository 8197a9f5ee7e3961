//! What of a Pebble can be turned, and its configuration file.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    cluster::TEST_ZONE,
    pki::{Authority, Identity},
    tools::Tool,
};

/// How a Pebble behaves. Start from [`Settings::calm`] or [`Settings::default`], change what the test is about.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of 100 good nonces, how many are refused as `badNonce`. Pebble's own default is 5.
    pub nonce_rejection_percent: u8,
    /// Of 100 authorizations that are valid already, how many a new order reuses. Pebble's own default is 50.
    pub authorization_reuse_percent: u8,
    /// Key ids and HMAC keys (unpadded base64url) for external account binding, RFC 8555 section 7.3.4; it is
    /// required where there are any.
    pub external_account_keys: BTreeMap<String, String>,
    /// How many alternate chains, RFC 8555 section 7.4.2, are offered beside the default one.
    pub alternate_roots: u8,
    /// How many intermediates a chain has.
    pub chain_length: u8,
    /// The profiles and how long their certificates are valid, in whole seconds. Where an order asks for none, Pebble
    /// picks one at random.
    pub profiles: BTreeMap<String, Duration>,
    /// The `Retry-After` of pending authorizations and processing orders, in whole seconds: sent as a number or as a
    /// date, at random. Zero: none is sent.
    pub retry_after: Duration,
    /// DNS names that are refused as `rejectedIdentifier`, with all below them.
    pub blocked_names: Vec<String>,
    /// Whether a validation takes some random seconds, as with a real CA.
    pub slow_validation: bool,
    /// Pebble's strict mode: what is deprecated is refused.
    pub strict: bool,
    /// Whether accounts may have Ed25519 keys, as RFC 8555 section 6.2 allows and Pebble as published does not: then
    /// it is built with `EdDSA` in its list.
    pub ed25519_accounts: bool,
}

impl Default for Settings {
    /// Strict, with Pebble's own 5 % of refused nonces and 50 % of reused authorizations, but without its waits.
    fn default() -> Self {
        Self {
            nonce_rejection_percent: 5,
            authorization_reuse_percent: 50,
            external_account_keys: BTreeMap::new(),
            alternate_roots: 0,
            chain_length: 1,
            profiles: BTreeMap::from([("default".to_owned(), Duration::from_hours(90 * 24))]),
            retry_after: Duration::ZERO,
            blocked_names: vec!["blocked.example.test".to_owned()],
            slow_validation: false,
            strict: true,
            ed25519_accounts: false,
        }
    }
}

impl Settings {
    /// No refused nonces and no reused authorizations: for measuring, and for tests of something else.
    pub fn calm() -> Self {
        Self { nonce_rejection_percent: 0, authorization_reuse_percent: 0, ..Self::default() }
    }

    /// Adds a profile whose certificates are valid for this long.
    pub fn profile(mut self, name: &str, validity: Duration) -> Self {
        self.profiles.insert(name.to_owned(), validity);
        self
    }

    /// Writes the configuration and the serving certificate into `folder`, which Pebble sees as `seen_at`; returns
    /// the CA of that certificate, PEM.
    pub(super) fn write(&self, folder: &Path, seen_at: &Path, name: &str, place: &Place) -> Result<String> {
        let (ca, identity) = serving_identity(place.address)?;
        let config = self.config(place, &seen_at.join(name).to_string_lossy());
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(folder)?;
            fs::write(folder.join(format!("{name}.crt")), identity.certificate)?;
            fs::write(folder.join(format!("{name}.key")), identity.key)?;
            fs::write(folder.join(format!("{name}.json")), serde_json::to_vec_pretty(&config)?)
        };
        write()
            .with_context(|| format!("failed to write Pebble's configuration into {}", folder.display()))?;
        Ok(ca)
    }

    pub(super) fn program(&self) -> Tool {
        if self.ed25519_accounts { Tool::PebbleEd25519 } else { Tool::Pebble }
    }

    pub(super) fn arguments(&self, seen_at: &Path, name: &str, dns: &str) -> Vec<String> {
        vec![
            format!("-config={}", seen_at.join(format!("{name}.json")).display()),
            format!("-dnsserver={dns}"),
            format!("-strict={}", self.strict),
        ]
    }

    pub(super) fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("PEBBLE_VA_NOSLEEP", u8::from(!self.slow_validation).to_string()),
            ("PEBBLE_WFE_NONCEREJECT", self.nonce_rejection_percent.to_string()),
            ("PEBBLE_AUTHZREUSE", self.authorization_reuse_percent.to_string()),
            ("PEBBLE_ALTERNATE_ROOTS", self.alternate_roots.to_string()),
            ("PEBBLE_CHAIN_LENGTH", self.chain_length.to_string()),
        ]
    }

    fn config(&self, place: &Place, files: &str) -> Value {
        let seconds = self.retry_after.as_secs();
        let profiles: BTreeMap<_, _> = self
            .profiles
            .iter()
            .map(|(name, validity)| {
                (name, json!({ "description": "of the testbed", "validityPeriod": validity.as_secs() }))
            })
            .collect();
        json!({ "pebble": {
            "listenAddress": format!("{}:{}", place.address, place.port),
            "managementListenAddress": format!("{}:{}", place.address, place.management_port),
            "certificate": format!("{files}.crt"),
            "privateKey": format!("{files}.key"),
            "httpPort": place.http_port,
            "tlsPort": place.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": !self.external_account_keys.is_empty(),
            "externalAccountMACKeys": self.external_account_keys,
            "domainBlocklist": self.blocked_names,
            "retryAfter": { "authz": seconds, "order": seconds },
            // Its own keys: RSA ones would take longer than its whole start.
            "keyAlgorithm": "ecdsa",
            "profiles": profiles,
        }})
    }
}

/// Where a Pebble listens and asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) management_port: u16,
    pub(super) http_port: u16,
    pub(super) tls_port: u16,
}

/// The name of every Pebble in a cluster.
pub(super) fn cluster_host() -> String {
    format!("pebble.{TEST_ZONE}")
}

/// Issues Pebble's own serving certificate; returns its CA with it.
fn serving_identity(address: IpAddr) -> Result<(String, Identity)> {
    let authority = Authority::new("Pebble's HTTPS")?;
    let host = cluster_host();
    let identity = authority.server("pebble", &[&host, "localhost"], &[address])?;
    Ok((authority.certificate().to_owned(), identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binding_is_required_exactly_where_there_are_keys() {
        let place =
            Place { address: [127, 0, 0, 1].into(), port: 1, management_port: 2, http_port: 3, tls_port: 4 };
        let mut settings = Settings::calm();
        assert_eq!(settings.config(&place, "x")["pebble"]["externalAccountBindingRequired"], false);
        settings.external_account_keys.insert("kid".into(), "a2V5".into());
        let config = settings.config(&place, "x");
        assert_eq!(config["pebble"]["externalAccountBindingRequired"], true);
        assert_eq!(config["pebble"]["externalAccountMACKeys"]["kid"], "a2V5");
    }
}
