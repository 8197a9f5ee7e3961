//! The main job, in Pods installed by Helm on a real node: annotations become certificates, and stay so.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use e2e::{
    audit::AuditMark,
    harness::{self, Namespace, with_namespace},
    operator,
    pebble::{Pebble, Settings},
    user::{User, data},
};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use tokio::{sync::Mutex, time::sleep};

/// Installs the chart once, in whichever test comes first.
async fn installed() -> Result<()> {
    static INSTALLED: OnceLock<Mutex<bool>> = OnceLock::new();
    let mut installed = INSTALLED.get_or_init(Mutex::default).lock().await;
    if !*installed {
        operator::install(harness::cluster()?, &[]).await?;
        *installed = true;
    }
    Ok(())
}

/// A test in a namespace of its own, with a user there and the operator installed.
async fn story(name: &str, test: impl AsyncFnOnce(&User<'_>, &Namespace) -> Result<()>) -> Result<()> {
    installed().await?;
    with_namespace(name, async |namespace| {
        let user = User::new(namespace.cluster(), namespace.name()).await?;
        test(&user, namespace).await
    })
    .await
}

/// The tests that measure do so alone.
static ALONE: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

fn annotation(issuer: &str) -> serde_json::Value {
    json!({ "cert-manager.io/cluster-issuer": issuer })
}

#[tokio::test]
async fn an_annotation_becomes_a_secret_in_a_second() -> Result<()> {
    const RUNS: usize = 10;
    let _alone = ALONE.write().await;
    story("second", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.cluster_issuer(issuer, &pebble, json!({})).await?;
        let mut times = Vec::new();
        for run in 0..RUNS {
            let name = format!("web-{run}");
            let hosts = [format!("{name}.{}.example.test", user.namespace)];
            user.ingress(&name, &hosts, json!({})).await?;
            // Traefik takes a change at once where there was none for two seconds.
            sleep(Duration::from_millis(2500)).await;
            let began = Instant::now();
            user.ingress(&name, &hosts, annotation(issuer)).await?;
            user.await_secret(&name, harness::TIMEOUT).await?;
            times.push(began.elapsed());
        }
        times.sort();
        let median = times[RUNS / 2];
        println!("annotation to Secret, {RUNS} runs: median {median:.2?}, longest {:.2?}", times[RUNS - 1]);
        ensure!(median <= Duration::from_millis(1500), "{times:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn fifty_ingresses_at_once_are_served_in_ten_seconds() -> Result<()> {
    const COUNT: usize = 50;
    let _alone = ALONE.write().await;
    story("burst", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.cluster_issuer(issuer, &pebble, json!({})).await?;
        let root = pebble.issuing_root(0).await?;
        // What was begun before is over.
        sleep(Duration::from_secs(5)).await;
        let mark = AuditMark::now(user.cluster)?;
        let began = Instant::now();
        let hosts: Vec<_> =
            (0..COUNT).map(|index| format!("w{index}.{}.example.test", user.namespace)).collect();
        try_join_all(hosts.iter().enumerate().map(|(index, host)| async move {
            user.ingress(&format!("w{index}"), std::slice::from_ref(host), annotation(issuer)).await
        }))
        .await?;
        let limit = Duration::from_secs(60);
        try_join_all(hosts.iter().map(|host| user.await_served(host, &root, limit))).await?;
        let time = began.elapsed();
        for index in 0..COUNT {
            user.await_issued(&format!("w{index}"), limit).await?;
        }
        // Also what is cleaned up afterwards counts.
        sleep(Duration::from_secs(6)).await;
        let mut count = mark.count(operator::USER)?;
        count.retain(|what, _| !what.ends_with("leases"));
        let requests = count.values().sum::<usize>();
        println!(
            "{COUNT} Ingresses at once served in {time:.2?}, {:.1} API requests for each: {count:?}",
            requests as f64 / COUNT as f64
        );
        ensure!(time <= Duration::from_secs(10), "{time:?}");
        ensure!(requests <= 22 * COUNT, "{requests} requests");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_deleted_swapped_or_spoiled_is_repaired() -> Result<()> {
    let _with_others = ALONE.read().await;
    story("repair", async |user, namespace| {
        let pebble = Pebble::of_cluster(user.cluster)?;
        let issuer = namespace.name();
        user.cluster_issuer(issuer, &pebble, json!({})).await?;
        let host = format!("web.{}.example.test", user.namespace);
        user.ingress("web", std::slice::from_ref(&host), annotation(issuer)).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        let secrets = user.api::<Secret>();
        let first = secrets.get("web").await?;
        let serial = |secret: &Secret| data(Some(secret), "tls.crt").to_vec();

        // Deleted.
        secrets.delete("web", &kube::api::DeleteParams::default()).await?;
        let second = user.await_secret("web", harness::TIMEOUT).await?;
        ensure!(serial(&second) != serial(&first));
        user.await_issued("web", harness::TIMEOUT).await?;

        // The old key beside the new certificate, then a certificate that is none.
        for (key, value) in
            [("tls.key", data(Some(&first), "tls.key").to_vec()), ("tls.crt", b"spoiled".to_vec())]
        {
            let before = secrets.get("web").await?;
            let patch = json!({ "data": { key: k8s_openapi::ByteString(value) } });
            secrets.patch("web", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch)).await?;
            let revision = user.await_certificate("web", "be issued anew", harness::TIMEOUT, |it| {
                let revision = |of: &crds::certmanager::Certificate| {
                    of.status.as_ref().and_then(|status| status.revision)
                };
                e2e::user::is_issued(it) && revision(it) >= Some(3)
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

#[tokio::test]
async fn no_request_of_ours_is_refused() -> Result<()> {
    let _with_others = ALONE.read().await;
    story("rights", async |user, namespace| {
        let pebble = Pebble::in_cluster(user.cluster, &Settings::calm()).await?;
        let issuer = namespace.name();
        let mark = AuditMark::now(user.cluster)?;
        user.cluster_issuer(issuer, &pebble, json!({})).await?;
        user.ingress("web", &[format!("web.{}.example.test", user.namespace)], annotation(issuer)).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        let refused: Vec<_> = mark
            .events()?
            .into_iter()
            .filter(|event| {
                event.user().starts_with("system:serviceaccount:acme-operator:")
                    && event.status() == Some(403)
            })
            // In a namespace that goes, everything is refused to everybody.
            .filter(|event| event.namespace().is_none_or(|namespace| namespace == user.namespace))
            .collect();
        ensure!(refused.is_empty(), "{refused:?}");
        Ok(())
    })
    .await
}
