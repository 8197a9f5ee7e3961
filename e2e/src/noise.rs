//! A tenant that keeps the operator busy: with orders at a CA that hangs, with large keys, and with orders on a shared account.
//!
//! Knows objects; must not know what they cost. Next: `operator/tests/apiserver_isolation.rs`, `bench isolation`.

use anyhow::{Context, Result};
use crds::certmanager::{Certificate, Issuer};
use futures::{TryStreamExt, stream};
use kube::api::PostParams;
use serde_json::{Value, json};
use testbed::pebble::Pebble;

use crate::user::{User, ca_bundle};

/// The number of concurrent API requests.
const CONCURRENCY: usize = 32;

/// How much a tenant creates.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Orders at the CA that hangs.
    pub hanging_orders: usize,
    /// Issuers at servers that hang, each at another URL.
    pub hanging_issuers: usize,
    /// Certificates with RSA keys of 4096 bits.
    pub large_keys: usize,
    /// Orders on the account that others use as well.
    pub shared_orders: usize,
}

impl Noise {
    /// Creates all of it. `hanging` and `shared` are ClusterIssuers that are ready; `pebble` is the CA of the former.
    pub async fn create(&self, user: &User<'_>, hanging: &str, shared: &str, pebble: &Pebble) -> Result<()> {
        // By now, it accepts connections and never responds.
        pebble.hang()?;
        let (small, large) = (json!({ "algorithm": "ECDSA" }), json!({ "algorithm": "RSA", "size": 4096 }));
        let groups = [
            ("hanging", hanging, &small, self.hanging_orders),
            ("large", shared, &large, self.large_keys),
            ("shared", shared, &small, self.shared_orders),
        ];
        for number in 0..self.hanging_issuers {
            let issuer = serde_json::from_value(issuer(number, pebble)?)?;
            user.api::<Issuer>().create(&PostParams::default(), &issuer).await?;
        }
        for (group, issuer, key, count) in groups {
            stream::iter((0..count).map(Ok))
                .try_for_each_concurrent(CONCURRENCY, async |number| {
                    let certificate = certificate(user, &format!("{group}-{number}"), issuer, key)?;
                    let created =
                        user.api::<Certificate>().create(&PostParams::default(), &certificate).await;
                    created.map(drop).context("failed to create a Certificate")
                })
                .await?;
        }
        Ok(())
    }
}

fn certificate(user: &User<'_>, name: &str, issuer: &str, key: &Value) -> Result<Certificate> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": { "name": name },
        "spec": {
            "secretName": name,
            "dnsNames": [user.host(name)],
            "issuerRef": { "name": issuer, "kind": "ClusterIssuer" },
            "privateKey": key,
        },
    }))?)
}

fn issuer(number: usize, pebble: &Pebble) -> Result<Value> {
    let name = format!("hanging-{number}");
    Ok(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": { "name": name },
        "spec": { "acme": {
            "server": format!("{}?{number}", pebble.directory_url()),
            "caBundle": ca_bundle(pebble)?,
            "privateKeySecretRef": { "name": name },
            "solvers": [{ "http01": { "ingress": {} } }],
        } },
    }))
}
