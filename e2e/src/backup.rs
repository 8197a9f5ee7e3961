//! A backup of a namespace as backup tools make it, all objects as JSON, and its restoration in any order.
//!
//! Knows objects; must not know our programs, except that they may be away meanwhile. Next: [`restored_without_issuance`].

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    harness, scenarios,
    user::{User, issuer_annotation, secret_value},
};

/// How many Certificates a restored namespace has.
pub const CERTIFICATES: usize = 20;

/// What is in a backup, by the names that kubectl has for the kinds.
const KINDS: [&str; 5] = ["certificates", "certificaterequests", "ingresses", "orders", "secrets"];

/// Which restored objects have their status.
#[derive(Clone, Copy, Debug)]
pub enum Statuses {
    /// All of them.
    All,
    /// None, as most backup tools restore them.
    None,
    /// Every second one.
    Half,
}

/// The objects of a namespace.
pub struct Backup(Vec<Value>);

impl Backup {
    /// Reads all objects.
    pub async fn of(user: &User<'_>) -> Result<Self> {
        let mut objects = Vec::new();
        for kind in KINDS {
            let output = kubectl(user, &["get", kind, "--output=json"]).await?;
            let list: Value = serde_json::from_slice(&output)?;
            objects.extend(list["items"].as_array().cloned().unwrap_or_default());
        }
        Ok(Self(objects))
    }

    /// Creates the objects again, in an order that depends on `seed`. Objects that exist are skipped, and lists of owners name owners
    /// that are gone.
    pub async fn restore(&self, user: &User<'_>, statuses: Statuses, seed: u64) -> Result<()> {
        let mut objects = self.0.clone();
        objects.sort_by_cached_key(|object| {
            let mut hasher = DefaultHasher::new();
            (seed, object["kind"].as_str(), object["metadata"]["name"].as_str()).hash(&mut hasher);
            hasher.finish()
        });
        for (position, mut object) in objects.into_iter().enumerate() {
            let keeps_status = match statuses {
                Statuses::All => true,
                Statuses::None => false,
                Statuses::Half => position % 2 == 0,
            };
            let metadata = object["metadata"].as_object_mut().context("an object without metadata")?;
            for field in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"] {
                metadata.remove(field);
            }
            let status = object.as_object_mut().and_then(|object| object.remove("status"));
            create(user, object, status.filter(|_| keeps_status)).await?;
        }
        Ok(())
    }
}

/// Creates an object with its status, unless it exists.
async fn create(user: &User<'_>, object: Value, status: Option<Value>) -> Result<()> {
    let mut object: DynamicObject = serde_json::from_value(object)?;
    let types = object.types.clone().context("an object without a kind")?;
    let plural = match types.kind.to_lowercase() {
        kind if kind.ends_with('s') => format!("{kind}es"),
        kind => format!("{kind}s"),
    };
    let resource = ApiResource::from_gvk_with_plural(&(&types).try_into()?, &plural);
    let api = Api::<DynamicObject>::namespaced_with(user.client.clone(), &user.namespace, &resource);
    let name = object.name_any();
    let parameters = PostParams::default();
    match api.create(&parameters, &object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => return Ok(()),
        created => object = created.with_context(|| format!("failed to restore {plural}/{name}"))?,
    }
    let Some(status) = status else { return Ok(()) };
    object.data["status"] = status;
    // The operator may have written its own meanwhile, or deleted the object.
    match api.replace_status(&name, &parameters, &object).await {
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        written => {
            written.map(drop).with_context(|| format!("failed to restore the status of {plural}/{name}"))
        }
    }
}

async fn kubectl(user: &User<'_>, arguments: &[&str]) -> Result<Vec<u8>> {
    let output =
        user.cluster.kubectl().args(arguments).args(["--namespace", &user.namespace]).output().await?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {arguments:?}: {error}");
    Ok(output.stdout)
}

/// Certificates of Ingresses, and others with all that a Secret can have, from the ClusterIssuer of the namespace's name.
async fn issue(user: &User<'_>) -> Result<()> {
    let issuer = &*user.namespace;
    for index in 0..CERTIFICATES {
        let (name, host) = (name(index), user.host(&name(index)));
        if index % 2 == 0 {
            user.apply_ingress(&name, &[host], issuer_annotation(issuer)).await?;
            continue;
        }
        let extras = json!({
            "dnsNames": [host],
            "issuerRef": { "name": issuer, "kind": "ClusterIssuer" },
            "keystores": { "pkcs12": { "create": true, "password": "changeit" } },
            "secretTemplate": { "labels": { "team": "web" } },
            "additionalOutputFormats": [{ "type": "CombinedPEM" }],
        });
        user.apply_certificate(&name, extras).await?;
    }
    for index in 0..CERTIFICATES {
        user.await_issued(&name(index), harness::TIMEOUT).await?;
    }
    scenarios::await_no_leftovers(user).await?;
    user.await_quiet().await
}

fn name(index: usize) -> String {
    format!("web-{index}")
}

/// Issues certificates, then deletes everything and restores it: with and without statuses, while the operator runs and while it is
/// away. Nothing may be issued or ordered. `power` starts (true) and stops (false) the operator.
pub async fn restored_without_issuance(
    user: &User<'_>,
    mut power: impl AsyncFnMut(bool) -> Result<()>,
) -> Result<()> {
    issue(user).await?;
    let variants = [Statuses::None, Statuses::All, Statuses::Half].map(|it| [(it, true), (it, false)]);
    for (seed, (statuses, runs)) in (1..).zip(variants.into_iter().flatten()) {
        let (backup, before) = (Backup::of(user).await?, certificates(user).await?);
        ensure!(before.len() == CERTIFICATES, "there are {} certificates", before.len());
        if !runs {
            power(false).await?;
        }
        for kind in ["ingresses", "certificates", "certificaterequests", "orders", "secrets"] {
            kubectl(user, &["delete", kind, "--all"]).await?;
        }
        let finalized = finalized_orders(user)?;
        backup.restore(user, statuses, seed).await?;
        if !runs {
            power(true).await?;
        }
        for index in 0..CERTIFICATES {
            user.await_issued(&name(index), harness::TIMEOUT).await?;
        }
        user.await_quiet().await?;
        let context = || format!("statuses {statuses:?}, running {runs}, seed {seed}; {}", user.log());
        let changed: Vec<_> = {
            let after = certificates(user).await?;
            before
                .iter()
                .filter(|(name, chain)| after.get(*name) != Some(chain))
                .map(|(name, _)| name)
                .cloned()
                .collect()
        };
        ensure!(changed.is_empty(), "{changed:?} were issued again; {}", context());
        let finalized = finalized_orders(user)? - finalized;
        ensure!(finalized == 0, "{finalized} certificates were issued and not used; {}", context());
        println!(
            "restored {CERTIFICATES} Certificates, statuses {statuses:?}, operator running {runs}: nothing was issued"
        );
    }
    Ok(())
}

/// How many CSRs the cluster's Pebble has got.
fn finalized_orders(user: &User<'_>) -> Result<usize> {
    let log = fs::read_to_string(user.cluster.layout().log("pebble"))?;
    Ok(log.matches("/finalize-order/").count())
}

/// The certificates in the Secrets of the namespace.
async fn certificates(user: &User<'_>) -> Result<BTreeMap<String, Vec<u8>>> {
    let secrets = user.api::<Secret>().list(&ListParams::default()).await?;
    let chain = |secret: &Secret| secret_value(Some(secret), "tls.crt").to_vec();
    let chains = secrets.items.iter().map(|secret| (secret.name_any(), chain(secret)));
    Ok(chains.filter(|(_, chain)| !chain.is_empty()).collect())
}
