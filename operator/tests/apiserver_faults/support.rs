//! A user with an Issuer, and waits for what the user would see.

use std::{fmt::Debug, path::Path, sync::OnceLock, time::Duration};

use anyhow::{Context, Result, ensure};
use crds::{certmanager::Certificate, condition};
use e2e::{
    harness,
    operator::{self, Processes},
    user::{User, ca_bundle, secret_value},
};
use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{
    Resource,
    api::{ListParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::{cluster::Cluster, pebble::Pebble};
use tokio::time::{Instant, sleep};

/// How long a fault may stay unreported.
pub(crate) const REPORTED: Duration = Duration::from_secs(5);

/// How long a wait for a route may stay unreported. It is reported after 3 seconds, because most routes are served by then.
pub(crate) const WAIT_REPORTED: Duration = Duration::from_secs(15);

/// How long a correction may take to have an effect that a watch reports.
pub(crate) const HEALED: Duration = Duration::from_secs(10);

/// How long a correction may take to have an effect that no watch reports.
pub(crate) const RETRIED: Duration = Duration::from_secs(45);

struct SharedCluster {
    cluster: Cluster,
    _processes: Processes,
}

fn shared_cluster() -> Result<&'static SharedCluster> {
    static SHARED: OnceLock<Result<SharedCluster, String>> = OnceLock::new();
    harness::start_once(&SHARED, async || {
        let cluster = harness::start_control_plane("faults").await?;
        let binaries =
            Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("the binary has no folder")?;
        let flags = ["--leader-elect=false", "--v=4", "--acme-http01-solver-extra-labels=routes=challenges"];
        let flags = [&operator::VERBOSE[..], &flags[..]].concat();
        let processes = Processes::start(&cluster, binaries, &flags).await?;
        let shared = SharedCluster { cluster, _processes: processes };
        // A new API server answers 503 to some requests for seconds, until it has loaded its admission policies.
        let first = user_of(&shared.cluster, "f-first", json!({})).await?;
        apply_certificate(&first, json!({})).await?;
        first.await_issued("web", harness::TIMEOUT).await?;
        Ok(shared)
    })
}

/// A user in a new namespace with an Issuer `pebble`. `acme` is a JSON merge patch of its `spec.acme`.
pub(crate) async fn user(namespace: &str, acme: Value) -> Result<User<'static>> {
    user_of(&shared_cluster()?.cluster, namespace, acme).await
}

async fn user_of<'a>(cluster: &'a Cluster, namespace: &str, acme: Value) -> Result<User<'a>> {
    harness::create_namespace(&cluster.client().await?, namespace).await?;
    let user = User::new(cluster, namespace).await?;
    apply_issuer(&user, acme).await?;
    Ok(user)
}

pub(crate) async fn apply_issuer(user: &User<'_>, change: Value) -> Result<()> {
    let pebble = Pebble::of_cluster(user.cluster)?;
    let mut acme = json!({
        "server": pebble.directory_url(),
        "caBundle": ca_bundle(&pebble)?,
        "privateKeySecretRef": { "name": "pebble-account" },
        "solvers": [{ "http01": { "ingress": { "ingressClassName": user.cluster.ingress_class() } } }],
    });
    json_patch::merge(&mut acme, &change);
    apply(
        user,
        json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Issuer",
            "metadata": { "name": "pebble" },
            "spec": { "acme": acme },
        }),
    )
    .await
}

pub(crate) async fn apply(user: &User<'_>, object: Value) -> Result<()> {
    user.cluster.apply_in(Some(&user.namespace), &object.to_string()).await
}

/// Applies a Certificate `web` from the Issuer. `change` is a JSON merge patch of its spec.
pub(crate) async fn apply_certificate(user: &User<'_>, change: Value) -> Result<()> {
    let mut spec = json!({ "dnsNames": [user.host("web")], "issuerRef": { "name": "pebble" } });
    json_patch::merge(&mut spec, &change);
    user.apply_certificate("web", spec).await
}

pub(crate) async fn apply_ingress(user: &User<'_>, annotations: Value) -> Result<()> {
    let mut all = json!({ "cert-manager.io/issuer": "pebble" });
    json_patch::merge(&mut all, &annotations);
    user.apply_ingress("web", &[user.host("web")], all).await
}

/// Waits until the Ready message of the Certificate `web`, which is what `kubectl get` shows, contains a text.
pub(crate) async fn await_told(user: &User<'_>, limit: Duration, text: &str) -> Result<()> {
    let (began, what) = (Instant::now(), format!("say {text:?}"));
    let told = user.await_certificate("web", &what, limit, |it| {
        let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let ready = condition::find(conditions, condition::READY);
        ready.is_some_and(|it| it.message.as_deref().is_some_and(|message| message.contains(text)))
    });
    let certificate = told.await?;
    let conditions = certificate.status.unwrap_or_default().conditions;
    let message = condition::find(&conditions, condition::READY).and_then(|it| it.message.clone());
    report(user, "Certificate", began, &message.unwrap_or_default())
}

/// Prints the message that a user sees and the time since the last change. Fails if the message contains internals.
fn report(user: &User<'_>, kind: &str, began: Instant, message: &str) -> Result<()> {
    println!("{}: {kind}: told after {:.1} s: {message}", user.namespace, began.elapsed().as_secs_f64());
    ensure!(
        !["Some(", "Status {", "ApiError", "\n"].iter().any(|text| message.contains(text)),
        "{message:?}"
    );
    Ok(())
}

/// Waits until the Certificate `web` is ready after a correction, and prints how long that took.
pub(crate) async fn await_healed(user: &User<'_>, limit: Duration) -> Result<Certificate> {
    let began = Instant::now();
    let certificate = user.await_issued("web", limit).await?;
    println!("{}: ready after {:.1} s", user.namespace, began.elapsed().as_secs_f64());
    Ok(certificate)
}

/// Waits until a Warning about an object of a kind contains a text.
pub(crate) async fn await_warning(user: &User<'_>, kind: &str, limit: Duration, text: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let events = user.api::<Event>().list(&ListParams::default()).await?.items;
        let of_kind = |it: &&Event| it.regarding.as_ref().is_some_and(|it| it.kind.as_deref() == Some(kind));
        let notes: Vec<_> = events
            .iter()
            .filter(of_kind)
            .filter(|event| event.type_.as_deref() == Some("Warning"))
            .filter_map(|event| event.note.as_deref())
            .collect();
        if let Some(note) = notes.iter().find(|note| note.contains(text)) {
            return report(user, kind, began, note);
        }
        ensure!(
            began.elapsed() < limit,
            "waited {limit:?} for a Warning with {text:?} about the {kind}, there are {notes:?}; {}",
            user.log()
        );
        sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) async fn patch<K>(user: &User<'_>, name: &str, patch: Value) -> Result<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    Ok(user.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

/// The certificate in the Secret `web`.
pub(crate) async fn certificate(user: &User<'_>) -> Result<Vec<u8>> {
    let secret = user.api::<Secret>().get("web").await?;
    Ok(secret_value(Some(&secret), "tls.crt").to_vec())
}

pub(crate) async fn await_secret(
    user: &User<'_>,
    what: &str,
    desired: impl Fn(&Secret) -> bool,
) -> Result<()> {
    let is_met = |secret: Option<&Secret>| secret.is_some_and(&desired);
    harness::await_condition(user.api::<Secret>(), "web", what, RETRIED, is_met).await.map(drop)
}

pub(crate) async fn await_names<K>(
    user: &User<'_>,
    what: &str,
    desired: impl Fn(Vec<String>) -> bool,
) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let began = Instant::now();
    loop {
        let names = user.names::<K>().await?;
        if desired(names.clone()) {
            return Ok(());
        }
        ensure!(began.elapsed() < RETRIED, "waited for {what}, there are {names:?}; {}", user.log());
        sleep(Duration::from_millis(100)).await;
    }
}
