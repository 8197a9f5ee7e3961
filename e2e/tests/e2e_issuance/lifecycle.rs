//! What happens to certificates after they are issued: repair, renewal, other hosts, a restart of the operator.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use crds::certmanager::CertificateRequest;
use e2e::{
    backup, harness, operator,
    user::{self, User, issuer_annotation, secret_value},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use testbed::{
    audit::AuditMark,
    http::Trust,
    pebble::{Pebble, Settings},
    probe,
};
use tokio::time::sleep;

use crate::{MEASURING, with_user};

/// A certificate is re-issued if its Secret is deleted, has another key, or has an invalid certificate.
#[tokio::test]
async fn damaged_secrets_are_repaired() -> Result<()> {
    let _not_measuring = MEASURING.read().await;
    with_user("repair", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let secrets = user.api::<Secret>();
        let chain = |secret: &Secret| secret_value(Some(secret), "tls.crt").to_vec();
        // Each with a Certificate of its own, because the third issuance in a row waits.
        for (name, damaged) in
            [("deleted", None), ("other-key", Some("tls.key")), ("invalid", Some("tls.crt"))]
        {
            let host = user.host(name);
            user.apply_ingress(name, std::slice::from_ref(&host), issuer_annotation(issuer)).await?;
            user.await_issued(name, harness::TIMEOUT).await?;
            let before = secrets.get(name).await?;
            match damaged {
                None => drop(secrets.delete(name, &DeleteParams::default()).await?),
                Some(data_key) => {
                    let value = match data_key {
                        "tls.key" => secret_value(Some(&secrets.get("deleted").await?), data_key).to_vec(),
                        _ => b"invalid".to_vec(),
                    };
                    let patch = json!({ "data": { data_key: k8s_openapi::ByteString(value) } });
                    secrets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
                }
            }
            let reissued = user.await_certificate(name, "be re-issued", harness::TIMEOUT, |it| {
                user::is_issued(it) && it.status.as_ref().and_then(|status| status.revision) == Some(2)
            });
            reissued.await?;
            let now = secrets.get(name).await?;
            ensure!(chain(&now) != chain(&before), "{name}: the Secret has the old certificate");
            let root = pebble.issuing_root(0).await?;
            user.await_served(&host, &root, harness::TIMEOUT).await?;
        }
        Ok(())
    })
    .await
}

/// Polls a host until it has served `count` different leaf certificates. Returns them.
///
/// # Errors
/// A client with this trust anchor would have rejected one of the chains.
async fn poll_valid_leaves(user: &User<'_>, host: &str, root: &Trust, count: usize) -> Result<Vec<Vec<u8>>> {
    let mut leaves: Vec<Vec<u8>> = Vec::new();
    let deadline = Instant::now() + Duration::from_mins(12);
    while leaves.len() < count {
        let served = probe::tls(&user.cluster.network(), host, 443, host, root).await?;
        served.verdict.with_context(|| format!("after {} certificates; {}", leaves.len(), user.log()))?;
        let leaf = served.certificates[0].to_vec();
        if leaves.last() != Some(&leaf) {
            leaves.push(leaf);
        }
        ensure!(Instant::now() < deadline, "only {} certificates were served; {}", leaves.len(), user.log());
        sleep(Duration::from_millis(100)).await;
    }
    Ok(leaves)
}

/// A certificate with a lifetime of one minute is renewed ten times, and a client that polls always sees a valid one.
#[tokio::test]
async fn short_lived_certificate_is_never_served_expired() -> Result<()> {
    with_user("renewal", async |user, namespace| {
        let profiles = BTreeMap::from([("minute".to_owned(), Duration::from_mins(1))]);
        let pebble = Pebble::in_cluster(user.cluster, &Settings { profiles, ..Settings::calm() }).await?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({ "profile": "minute" })).await?;
        let host = user.host("web");
        user.apply_ingress("web", std::slice::from_ref(&host), issuer_annotation(issuer)).await?;
        let root = pebble.issuing_root(0).await?;
        user.await_served(&host, &root, harness::TIMEOUT).await?;
        let began = Instant::now();
        let leaves = poll_valid_leaves(user, &host, &root, 11).await?;
        println!(
            "{} renewals in {:.0?}, and a client always saw a valid certificate",
            leaves.len() - 1,
            began.elapsed()
        );
        let certificate = user.await_issued("web", harness::TIMEOUT).await?;
        let status = certificate.status.context("the Certificate has no status")?;
        ensure!(status.revision >= Some(11), "the revision is not at least 11: {status:?}");
        // Old CertificateRequests are deleted.
        let requests = user.api::<CertificateRequest>().list(&ListParams::default()).await?;
        ensure!(requests.items.len() <= 2, "{} CertificateRequests are left", requests.items.len());
        Ok(())
    })
    .await
}

/// If the hosts of an Ingress change, a certificate for exactly the new hosts is issued.
#[tokio::test]
async fn changed_hosts_get_another_certificate() -> Result<()> {
    let _not_measuring = MEASURING.read().await;
    with_user("hosts", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let host = |name: &str| user.host(name);
        user.apply_ingress("web", &[host("a")], issuer_annotation(issuer)).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        user.apply_ingress("web", &[host("a"), host("b")], issuer_annotation(issuer)).await?;
        let root = pebble.issuing_root(0).await?;
        user.await_served(&host("b"), &root, harness::TIMEOUT).await?;
        user.apply_ingress("web", &[host("b")], issuer_annotation(issuer)).await?;
        user.await_certificate("web", "be issued a third time", harness::TIMEOUT, |it| {
            user::is_issued(it) && it.status.as_ref().and_then(|status| status.revision) == Some(3)
        })
        .await?;
        let secret = user.api::<Secret>().get("web").await?;
        let names = &secret.annotations()["cert-manager.io/alt-names"];
        ensure!(*names == host("b"), "the certificate is for {names}");
        Ok(())
    })
    .await
}

/// A namespace is restored from a backup while the operator runs, and while its Deployment has no Pods.
#[tokio::test]
async fn restored_backup_issues_nothing() -> Result<()> {
    let _measuring = MEASURING.write().await;
    with_user("backup", async |user, namespace| {
        user.create_cluster_issuer(namespace.name(), &Pebble::of_cluster(user.cluster)?, json!({})).await?;
        backup::restored_without_issuance(user, async |on| {
            let deployments: Api<Deployment> = Api::namespaced(user.client.clone(), operator::NAME);
            let replicas = json!({ "spec": { "replicas": i32::from(on) } });
            deployments.patch(operator::NAME, &PatchParams::default(), &Patch::Merge(replicas)).await?;
            let is_scaled = |it: Option<&Deployment>| {
                let status = it.and_then(|it| it.status.as_ref());
                status.is_some_and(|it| if on { it.ready_replicas == Some(1) } else { it.replicas.is_none() })
            };
            harness::await_condition(deployments, operator::NAME, "be scaled", harness::TIMEOUT, is_scaled)
                .await
                .map(drop)
        })
        .await
    })
    .await
}

#[tokio::test]
async fn restart_with_nothing_due_writes_nothing() -> Result<()> {
    let _measuring = MEASURING.write().await;
    with_user("restart", async |user, namespace| {
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
        for index in 0..5 {
            let name = format!("web-{index}");
            user.apply_ingress(&name, &[user.host(&name)], issuer_annotation(issuer)).await?;
            user.await_issued(&name, harness::TIMEOUT).await?;
        }
        user.await_quiet().await?;
        let mark = AuditMark::now(user.cluster)?;
        let pods: Api<Pod> = Api::namespaced(user.client.clone(), operator::NAME);
        let selector = ListParams::default().labels("app.kubernetes.io/component=controller");
        for pod in pods.list(&selector).await? {
            pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
        }
        operator::install(user.cluster, &[]).await?;
        harness::assert_stays("the operator writes nothing", Duration::from_secs(5), async || {
            let writes = operator::writes_for(&mark, &user.namespace)?;
            ensure!(writes.is_empty(), "the operator wrote {writes:?}");
            Ok(())
        })
        .await
    })
    .await
}
