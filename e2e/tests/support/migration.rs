//! What tests of migrations from cert-manager have in common: a tenant's certificates, and what must be kept.
//! Knows the API objects; must not know the operator's code.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::{
    acme::{Challenge, Order},
    certmanager::{CertificateRequest, ClusterIssuer},
};
use e2e::{
    cert_manager, harness,
    user::{User, issuer_annotation},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep};

pub(crate) const NAMESPACE: &str = "tenant";
pub(crate) const ISSUER: &str = "issuer";

/// How long cert-manager may take for a certificate: it needs 20 s on an idle machine.
pub(crate) const CERT_MANAGER_TIMEOUT: Duration = Duration::from_mins(3);

/// How long the operator may take to finish an issuance that cert-manager started.
pub(crate) const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// Annotates an Ingress for a host of its name.
pub(crate) async fn annotate(user: &User<'_>, name: &str) -> Result<()> {
    user.apply_ingress(name, &[user.host(name)], issuer_annotation(ISSUER)).await
}

/// The URL of the issuer's ACME account.
pub(crate) async fn account(user: &User<'_>) -> Result<String> {
    let issuers: Api<ClusterIssuer> = Api::all(user.client.clone());
    let status = issuers.get_status(ISSUER).await?.status.context("the issuer has no status")?;
    status.acme.and_then(|acme| acme.uri).context("the issuer has no account")
}

/// The URLs of the ACME orders for a Certificate's first request. An Order that was not placed has an empty one.
pub(crate) async fn order_urls(user: &User<'_>, certificate: &str) -> Result<Vec<String>> {
    let orders = user.api::<Order>().list(&ListParams::default()).await?;
    let of_request = |it: &Order| it.name_any().starts_with(&format!("{certificate}-1-"));
    let url = |it: Order| it.status.and_then(|status| status.url).unwrap_or_default();
    Ok(orders.items.into_iter().filter(of_request).map(url).collect())
}

/// Waits until an order for a Certificate is placed. Returns its URL.
pub(crate) async fn await_placed(user: &User<'_>, certificate: &str) -> Result<String> {
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let urls = order_urls(user, certificate).await?;
        if let [url] = urls.as_slice()
            && !url.is_empty()
        {
            return Ok(url.clone());
        }
        ensure!(Instant::now() < deadline, "no order was placed for {certificate}: {urls:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Ensures that one order was placed for a Certificate, and that it was the one with this URL.
pub(crate) async fn ensure_one_order(user: &User<'_>, certificate: &str, url: &str) -> Result<()> {
    let urls = order_urls(user, certificate).await?;
    ensure!(urls == [url], "the order {url} was not continued: {urls:?}");
    Ok(())
}

/// Sets the number of the solver's Pods of the release in a namespace.
pub(crate) async fn scale_solver(user: &User<'_>, namespace: &str, replicas: i32) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(user.client.clone(), namespace);
    let component = ListParams::default().labels("app.kubernetes.io/component=http01-solver");
    let found = deployments.list(&component).await?;
    let name = found.items.first().context("there is no solver")?.name_any();
    let patch = json!({ "spec": { "replicas": replicas } });
    deployments.patch_scale(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// Waits until a challenge is presented, so that an order is in progress.
pub(crate) async fn await_presented(user: &User<'_>) -> Result<()> {
    let deadline = Instant::now() + CERT_MANAGER_TIMEOUT;
    loop {
        let challenges = user.api::<Challenge>().list(&ListParams::default()).await?;
        let presented =
            |it: &Challenge| it.status.as_ref().is_some_and(|status| status.presented == Some(true));
        if challenges.items.iter().any(presented) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "no challenge is presented; {}",
            user.cluster.log_tail(cert_manager::NAME, 40)
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the Pods that answered cert-manager's challenges are deleted.
pub(crate) async fn await_no_pods(user: &User<'_>) -> Result<()> {
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let left = user.names::<Pod>().await?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the Pods {left:?} were not deleted");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Ensures that no Secret was written and no certificate re-issued.
pub(crate) async fn ensure_kept(user: &User<'_>, all: &[(&str, Secret)]) -> Result<()> {
    for (name, before) in all {
        let now = user.api::<Secret>().get(name).await?;
        ensure!(
            now.metadata.resource_version == before.metadata.resource_version,
            "the Secret {name} was written: {:?}",
            now.metadata
        );
    }
    let requests = user.names::<CertificateRequest>().await?;
    ensure!(
        requests.iter().all(|name| name.ends_with("-1")),
        "a second certificate was requested: {requests:?}"
    );
    Ok(())
}
