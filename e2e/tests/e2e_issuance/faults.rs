//! What can go wrong: a CA that rejects or delays, a killed solver, missing permissions.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use crds::{acme::Challenge, condition};
use e2e::{harness, operator, user::issuer_annotation};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use testbed::{
    audit::AuditMark,
    pebble::{Pebble, Settings},
};
use tokio::time::sleep;

use crate::{MEASURING, with_user};

/// If the CA rejects a name, the Certificate has the CA's problem and the time of the next attempt.
#[tokio::test]
async fn rejected_name_is_reported_on_the_certificate() -> Result<()> {
    let _not_measuring = MEASURING.read().await;
    with_user("rejected", async |user, namespace| {
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
        user.apply_ingress("web", &["www.blocked.example.test".to_owned()], issuer_annotation(issuer))
            .await?;
        let failed = user.await_certificate("web", "report the rejection", harness::TIMEOUT, |it| {
            let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
            condition::find(conditions, condition::ISSUING).is_some_and(|issuing| {
                issuing.message.as_deref().is_some_and(|message| {
                    message.contains("rejectedIdentifier") && message.contains("the next attempt is at")
                })
            })
        });
        failed.await.map(drop)
    })
    .await
}

/// The operator does not poll an order before the time in the server's Retry-After header.
#[tokio::test]
async fn retry_after_is_honored() -> Result<()> {
    let _not_measuring = MEASURING.read().await;
    with_user("patience", async |user, namespace| {
        // Pebble sends Retry-After as a number of seconds or as a date, at random.
        let settings = Settings { retry_after: Duration::from_secs(1), ..Settings::calm() };
        let pebble = Pebble::in_cluster(user.cluster, &settings).await?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        for index in 0..4 {
            let name = format!("web-{index}");
            let began = Instant::now();
            user.apply_ingress(&name, &[user.host(&name)], issuer_annotation(issuer)).await?;
            user.await_issued(&name, harness::TIMEOUT).await?;
            println!("with Retry-After: 1, a certificate took {:.2?}", began.elapsed());
            // A finalized order is "processing", and must not be polled before the time in Retry-After.
            ensure!(began.elapsed() >= Duration::from_secs(1), "{name} took only {:?}", began.elapsed());
        }
        Ok(())
    })
    .await
}

/// If one solver Pod is killed while the CA validates, the other one answers, and the first attempt succeeds.
#[tokio::test]
async fn killed_solver_fails_no_validation() -> Result<()> {
    let _measuring = MEASURING.write().await;
    with_user("solver", async |user, namespace| {
        let settings = Settings { slow_validation: true, ..Settings::calm() };
        let pebble = Pebble::in_cluster(user.cluster, &settings).await?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let hosts: Vec<_> = (0..5).map(|index| user.host(&format!("w{index}"))).collect();
        user.apply_ingress("web", &hosts, issuer_annotation(issuer)).await?;
        let deadline = Instant::now() + harness::TIMEOUT;
        while user.api::<Challenge>().list(&ListParams::default()).await?.items.is_empty() {
            ensure!(Instant::now() < deadline, "no Challenge was created; {}", user.log());
            sleep(Duration::from_millis(20)).await;
        }
        let pods: Api<Pod> = Api::namespaced(user.client.clone(), operator::NAME);
        let selector = ListParams::default().labels("app.kubernetes.io/component=http01-solver");
        let replicas = pods.list(&selector).await?;
        ensure!(replicas.items.len() == 2, "the solver has {} replicas, not 2", replicas.items.len());
        // Without a grace period, so that the Pod can't drain.
        pods.delete(&replicas.items[0].name_any(), &DeleteParams::default().grace_period(0)).await?;
        let certificate = user.await_issued("web", Duration::from_mins(2)).await?;
        let failures = certificate.status.and_then(|status| status.failed_issuance_attempts);
        ensure!(failures.is_none(), "{failures:?} attempts failed");
        operator::install(user.cluster, &[]).await
    })
    .await
}

/// The chart grants all permissions that the operator and the solver need.
#[tokio::test]
async fn our_requests_are_never_forbidden() -> Result<()> {
    let _not_measuring = MEASURING.read().await;
    with_user("permissions", async |user, namespace| {
        let pebble = Pebble::in_cluster(user.cluster, &Settings::calm()).await?;
        let issuer = namespace.name();
        let mark = AuditMark::now(user.cluster)?;
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        user.apply_ingress("web", &[user.host("web")], issuer_annotation(issuer)).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        let mut rejected = operator::rejected(&mark, operator::NAME)?;
        // In a namespace that is being deleted, all creations are forbidden.
        rejected.retain(|event| event.namespace().is_none_or(|namespace| namespace == user.namespace));
        ensure!(rejected.is_empty(), "the API server rejected {rejected:?}");
        Ok(())
    })
    .await
}
