//! What happens to certificates after they are issued.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use crds::certmanager::CertificateRequest;
use e2e::{
    harness, operator,
    user::{self, User, issuer_annotation, secret_value},
};
use k8s_openapi::api::core::v1::{Pod, Secret};
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

use crate::{ALONE, scenario};

#[tokio::test]
async fn what_is_deleted_swapped_or_spoiled_is_repaired() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("repair", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let host = user.host("web");
        user.apply_ingress("web", std::slice::from_ref(&host), issuer_annotation(issuer)).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        let secrets = user.api::<Secret>();
        let first = secrets.get("web").await?;
        let serial = |secret: &Secret| secret_value(Some(secret), "tls.crt").to_vec();

        // Deleted.
        secrets.delete("web", &DeleteParams::default()).await?;
        let second = user.await_secret("web", harness::TIMEOUT).await?;
        ensure!(serial(&second) != serial(&first));
        user.await_issued("web", harness::TIMEOUT).await?;

        // The old key beside the new certificate, then a certificate that is none.
        for (key, value) in
            [("tls.key", secret_value(Some(&first), "tls.key").to_vec()), ("tls.crt", b"spoiled".to_vec())]
        {
            let before = secrets.get("web").await?;
            let patch = json!({ "data": { key: k8s_openapi::ByteString(value) } });
            secrets.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await?;
            let revision = user.await_certificate("web", "be issued anew", harness::TIMEOUT, |it| {
                let revision = |of: &crds::certmanager::Certificate| {
                    of.status.as_ref().and_then(|status| status.revision)
                };
                user::is_issued(it) && revision(it) >= Some(3)
            });
            revision.await?;
            let deadline = Instant::now() + harness::TIMEOUT;
            loop {
                let now = secrets.get("web").await?;
                if serial(&now) != serial(&before) && serial(&now) != b"spoiled" {
                    break;
                }
                ensure!(Instant::now() < deadline, "{key} is not repaired");
                sleep(Duration::from_millis(50)).await;
            }
        }
        let root = pebble.issuing_root(0).await?;
        user.await_served(&host, &root, harness::TIMEOUT).await?;
        Ok(())
    })
    .await
}

/// Serial numbers of what is served, as long as a client polls; fails at the first chain that is not good.
async fn poll_without_fault(
    user: &User<'_>,
    host: &str,
    root: &Trust,
    wanted: usize,
) -> Result<Vec<Vec<u8>>> {
    let mut serials: Vec<Vec<u8>> = Vec::new();
    let deadline = Instant::now() + Duration::from_mins(12);
    while serials.len() < wanted {
        let served = probe::tls(&user.cluster.network(), host, 443, host, root).await?;
        served.verdict.with_context(|| format!("after {} certificates; {}", serials.len(), user.log()))?;
        let leaf = served.certificates[0].to_vec();
        if serials.last() != Some(&leaf) {
            serials.push(leaf);
        }
        ensure!(Instant::now() < deadline, "only {} certificates; {}", serials.len(), user.log());
        sleep(Duration::from_millis(100)).await;
    }
    Ok(serials)
}

#[tokio::test]
async fn a_certificate_of_a_minute_is_renewed_ten_times_and_never_seen_expired() -> Result<()> {
    scenario("renewal", async |user, namespace| {
        let profiles = BTreeMap::from([("minute".to_owned(), Duration::from_mins(1))]);
        let pebble = Pebble::in_cluster(user.cluster, &Settings { profiles, ..Settings::calm() }).await?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({ "profile": "minute" })).await?;
        let host = user.host("web");
        user.apply_ingress("web", std::slice::from_ref(&host), issuer_annotation(issuer)).await?;
        let root = pebble.issuing_root(0).await?;
        user.await_served(&host, &root, harness::TIMEOUT).await?;
        let began = Instant::now();
        let serials = poll_without_fault(user, &host, &root, 11).await?;
        println!(
            "{} renewals in {:.0?}, each seen by a client that saw nothing bad",
            serials.len() - 1,
            began.elapsed()
        );
        let status = user.await_issued("web", harness::TIMEOUT).await?.status.context("a status")?;
        ensure!(status.revision >= Some(11), "{status:?}");
        // The past is cleared away.
        let requests = user.api::<CertificateRequest>().list(&ListParams::default()).await?;
        ensure!(requests.items.len() <= 2, "{} CertificateRequests", requests.items.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn other_hosts_get_another_certificate() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("hosts", async |user, namespace| {
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
        ensure!(secret.annotations()["cert-manager.io/alt-names"] == host("b"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_restart_with_everything_issued_writes_nothing() -> Result<()> {
    let _alone = ALONE.write().await;
    scenario("restart", async |user, namespace| {
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
        let selector = ListParams::default().labels("app.kubernetes.io/component=operator");
        for pod in pods.list(&selector).await? {
            pods.delete(&pod.name_any(), &DeleteParams::default()).await?;
        }
        operator::install(user.cluster, &[]).await?;
        harness::assert_stays("the operator writes nothing", Duration::from_secs(5), async || {
            let writes =
                operator::writes(&mark, |namespace| namespace.is_none_or(|name| name == user.namespace))?;
            ensure!(writes.is_empty(), "{writes:?}");
            Ok(())
        })
        .await
    })
    .await
}
