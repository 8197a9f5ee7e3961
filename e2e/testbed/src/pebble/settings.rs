//! The settings of a Pebble, and the configuration file that follows from them.
//! Must not start anything. Next: `server.rs`, which does.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    cluster::TEST_ZONE,
    pki::{Authority, Identity},
    tools::Tool,
};

/// How a Pebble behaves. Start from [`Settings::calm`] or [`Settings::default`], and change what the test is about.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The percentage of valid nonces that are rejected with `badNonce`. Pebble's default is 5.
    pub nonce_rejection_percent: u8,
    /// The percentage of valid authorizations that a new order reuses. Pebble's default is 50.
    pub authorization_reuse_percent: u8,
    /// The keys for external account binding (RFC 8555 section 7.3.4): from key ID to HMAC key, in unpadded base64url.
    /// If there are any, a binding is required.
    pub external_account_keys: BTreeMap<String, String>,
    /// The number of alternate chains (RFC 8555 section 7.4.2), in addition to the default chain.
    pub alternate_roots: u8,
    /// The number of intermediates in a chain.
    pub chain_length: u8,
    /// The profiles, with the validity of their certificates in whole seconds. For an order without a profile, Pebble
    /// picks one at random.
    pub profiles: BTreeMap<String, Duration>,
    /// The `Retry-After` of pending authorizations and processing orders, in whole seconds. Pebble sends a number or a
    /// date, at random. Zero means no header.
    pub retry_after: Duration,
    /// The DNS names that are rejected with `rejectedIdentifier`, as well as their subdomains.
    pub blocked_names: Vec<String>,
    /// Whether a validation takes a random number of seconds, like at a real CA.
    pub slow_validation: bool,
    /// Whether Pebble rejects deprecated requests (its strict mode).
    pub strict: bool,
    /// Whether accounts may have Ed25519 keys. RFC 8555 section 6.2 allows these, the published Pebble doesn't, so this
    /// uses a build of Pebble with `EdDSA` in its list of algorithms.
    pub ed25519_accounts: bool,
}

impl Default for Settings {
    /// Strict mode, and Pebble's defaults of 5 % rejected nonces and 50 % reused authorizations, but no random delays.
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
    /// The default without rejected nonces and reused authorizations: for benchmarks, and for tests of something else.
    pub fn calm() -> Self {
        Self { nonce_rejection_percent: 0, authorization_reuse_percent: 0, ..Self::default() }
    }

    /// Adds a profile, with the validity of its certificates.
    pub fn profile(mut self, name: &str, validity: Duration) -> Self {
        self.profiles.insert(name.to_owned(), validity);
        self
    }

    /// Writes the configuration and the serving certificate into `folder`, whose path is `seen_at` for Pebble. Returns
    /// the CA of that certificate, in PEM.
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
            // For the keys of its CA. Generating RSA keys would take longer than everything else at the start.
            "keyAlgorithm": "ecdsa",
            "profiles": profiles,
        }})
    }
}

/// Where a Pebble listens, and to which ports it sends validation requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) management_port: u16,
    pub(super) http_port: u16,
    pub(super) tls_port: u16,
}

/// The host name of every Pebble in a cluster.
pub(super) fn cluster_host() -> String {
    format!("pebble.{TEST_ZONE}")
}

/// Issues Pebble's serving certificate. Returns the certificate of the CA, too.
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
    fn binding_is_required_if_there_are_keys() {
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
