//! A CA that rejects or delays, a solver that is killed, and permissions that might be missing.

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

use crate::{ALONE, scenario};

#[tokio::test]
async fn a_name_that_the_ca_refuses_is_told_on_the_certificate() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("refused", async |user, namespace| {
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
        user.apply_ingress("web", &["www.blocked.example.test".to_owned()], issuer_annotation(issuer))
            .await?;
        let failed = user.await_certificate("web", "say why", harness::TIMEOUT, |it| {
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

#[tokio::test]
async fn a_server_that_asks_to_wait_is_waited_for() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("patience", async |user, namespace| {
        // Sent at random as a number of seconds and as a date.
        let settings = Settings { retry_after: Duration::from_secs(1), ..Settings::calm() };
        let pebble = Pebble::in_cluster(user.cluster, &settings).await?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        for index in 0..4 {
            let name = format!("web-{index}");
            let began = Instant::now();
            user.apply_ingress(&name, &[user.host(&name)], issuer_annotation(issuer)).await?;
            user.await_issued(&name, harness::TIMEOUT).await?;
            println!("with Retry-After 1: {:.2?}", began.elapsed());
            // The order is processing when it is finalized: it is looked at again no earlier than the server said.
            ensure!(began.elapsed() >= Duration::from_secs(1));
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_solver_that_is_killed_while_the_ca_validates_costs_nothing() -> Result<()> {
    let _alone = ALONE.write().await;
    scenario("solver", async |user, namespace| {
        let settings = Settings { slow_validation: true, ..Settings::calm() };
        let pebble = Pebble::in_cluster(user.cluster, &settings).await?;
        let issuer = namespace.name();
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        let hosts: Vec<_> = (0..5).map(|index| user.host(&format!("w{index}"))).collect();
        user.apply_ingress("web", &hosts, issuer_annotation(issuer)).await?;
        let deadline = Instant::now() + harness::TIMEOUT;
        while user.api::<Challenge>().list(&ListParams::default()).await?.items.is_empty() {
            ensure!(Instant::now() < deadline, "there is no Challenge; {}", user.log());
            sleep(Duration::from_millis(20)).await;
        }
        let pods: Api<Pod> = Api::namespaced(user.client.clone(), operator::NAME);
        let selector = ListParams::default().labels("app.kubernetes.io/component=http01-solver");
        let replicas = pods.list(&selector).await?;
        ensure!(replicas.items.len() == 2, "{} replicas", replicas.items.len());
        // As by SIGKILL: no time to drain.
        pods.delete(&replicas.items[0].name_any(), &DeleteParams::default().grace_period(0)).await?;
        let certificate = user.await_issued("web", Duration::from_mins(2)).await?;
        let failures = certificate.status.and_then(|status| status.failed_issuance_attempts);
        ensure!(failures.is_none(), "{failures:?} failures");
        operator::install(user.cluster, &[]).await
    })
    .await
}

#[tokio::test]
async fn no_request_of_ours_is_refused() -> Result<()> {
    let _with_others = ALONE.read().await;
    scenario("rights", async |user, namespace| {
        let pebble = Pebble::in_cluster(user.cluster, &Settings::calm()).await?;
        let issuer = namespace.name();
        let mark = AuditMark::now(user.cluster)?;
        user.create_cluster_issuer(issuer, &pebble, json!({})).await?;
        user.apply_ingress("web", &[user.host("web")], issuer_annotation(issuer)).await?;
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
