//! Makes one decision by hand: what to do about a ClusterIssuer, before and after its account has a private key.
//!
//! ```text
//! cargo run -p operator --example decide
//! ```
//!
//! A decision is a pure function, so it needs neither a cluster nor a CA. Next: `operator/src/decision/`.

use anyhow::{Context, Result};
use crds::certmanager::ClusterIssuer;
use jiff::Timestamp;
use operator::decision::issuer::{KeyView, Step, View, decide};
use serde_json::json;

fn main() -> Result<()> {
    // What the API server holds.
    let issuer: ClusterIssuer = serde_json::from_value(json!({
        "metadata": { "name": "letsencrypt", "generation": 1 },
        "spec": { "acme": {
            "server": "https://acme-v02.api.letsencrypt.org/directory",
            "email": "admin@example.com",
            "privateKeySecretRef": { "name": "letsencrypt-account" },
            "solvers": [{ "http01": { "ingress": { "ingressClassName": "nginx" } } }],
        } },
    }))?;
    let acme = issuer.spec.acme.as_ref().context("the issuer is not an ACME issuer")?;
    let status = issuer.status.clone().unwrap_or_default();
    let view = |key| View {
        uid: "7d0a5f4e",
        generation: issuer.metadata.generation,
        acme,
        status: &status,
        key,
        mac_key: None,
        account_lost: false,
        progress: None,
        now: Timestamp::UNIX_EPOCH,
    };

    // The Secret with the account's private key does not exist yet, so the first step generates one.
    let step = decide(&view(&KeyView::Absent));
    println!("without a key: {step:?}");
    assert_eq!(step, Step::GenerateKey);

    // With a key, but without an account in the status, the next step registers one.
    let key = KeyView::Present { hash: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".to_owned() };
    let step = decide(&view(&key));
    println!("with a key: {step:?}");
    assert_eq!(step, Step::Register);
    Ok(())
}
