//! What happens to users, told once for both places where our programs run: as processes without a node, and in Pods.
//!
//! A scenario has a namespace to itself and a ready ClusterIssuer of the same name, at the Pebble of the cluster.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use crds::{
    acme::{Challenge, Order},
    certmanager::CertificateRequest,
    condition::{self, ConditionStatus},
};
use k8s_openapi::api::{
    core::v1::{Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;
use testbed::pebble::{Pebble, Settings};
use tokio::time::sleep;

use crate::{
    harness, operator,
    user::{User, issuer_annotation},
};

/// Calls a macro with the names of all scenarios, so that both places tell each.
#[macro_export]
macro_rules! each_scenario {
    ($macro:ident) => {
        $macro!(
            an_ingress_that_goes_in_the_middle_leaves_nothing,
            a_namespace_that_goes_in_the_middle_is_gone_soon,
            of_two_certificates_with_one_secret_the_older_has_it,
            an_issuer_that_can_not_work_says_why,
            a_hundred_hosts_get_one_certificate,
        );
    };
}

/// Changes the issuer to a class that nobody serves, and annotates an Ingress: its challenge waits.
async fn begin_without_end(user: &User<'_>) -> Result<()> {
    let issuer = &*user.namespace;
    let change = json!({ "solvers": [{ "http01": { "ingress": { "ingressClassName": "nobody" } } }] });
    user.create_cluster_issuer(issuer, &Pebble::of_cluster(user.cluster)?, change).await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation(issuer)).await
}

/// Waits until nothing is left of challenges in a namespace.
pub async fn await_no_leftovers(user: &User<'_>) -> Result<()> {
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let mut left = user.names::<Challenge>().await?;
        left.extend(user.names::<Service>().await?);
        left.extend(user.names::<EndpointSlice>().await?);
        let routes = user.names::<Ingress>().await?;
        left.extend(routes.into_iter().filter(|name| name.starts_with("cm-acme")));
        let keys = ListParams::default().labels("cert-manager.io/next-private-key=true");
        left.extend(user.api::<Secret>().list(&keys).await?.items.iter().map(ResourceExt::name_any));
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "left over: {left:?}; {}", user.log());
        sleep(Duration::from_millis(100)).await;
    }
}

/// An Ingress is deleted while its challenge waits, which the Certificate had told: nothing is left of it.
pub async fn an_ingress_that_goes_in_the_middle_leaves_nothing(user: &User<'_>) -> Result<()> {
    begin_without_end(user).await?;
    // The reason comes all the way up to the Certificate.
    let waiting = user.await_certificate("web", "say what it waits for", harness::TIMEOUT, |it| {
        let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
        condition::find(conditions, "Issuing").is_some_and(|issuing| {
            issuing
                .message
                .as_deref()
                .is_some_and(|message| message.contains("propagation") && message.contains("404"))
        })
    });
    waiting.await?;
    user.api::<Ingress>().delete("web", &DeleteParams::default()).await?;
    await_no_leftovers(user).await?;
    ensure!(user.names::<Order>().await?.is_empty());
    ensure!(user.names::<Secret>().await?.is_empty());
    Ok(())
}

/// A namespace is deleted in the middle of an order: it is gone within 30 seconds.
pub async fn a_namespace_that_goes_in_the_middle_is_gone_soon(user: &User<'_>) -> Result<()> {
    begin_without_end(user).await?;
    let deadline = Instant::now() + harness::TIMEOUT;
    while user.names::<Challenge>().await?.is_empty() {
        ensure!(Instant::now() < deadline, "there is no Challenge");
        sleep(Duration::from_millis(20)).await;
    }
    let namespaces: Api<Namespace> = Api::all(user.client.clone());
    let began = Instant::now();
    namespaces.delete(&user.namespace, &DeleteParams::default()).await?;
    while namespaces.get_opt(&user.namespace).await?.is_some() {
        ensure!(began.elapsed() < Duration::from_secs(30), "it is still there");
        sleep(Duration::from_millis(100)).await;
    }
    println!("the namespace was gone after {:.1?}", began.elapsed());
    Ok(())
}

/// Two Certificates name one Secret: the older one has it, the other says so and orders nothing.
pub async fn of_two_certificates_with_one_secret_the_older_has_it(user: &User<'_>) -> Result<()> {
    let issuer = &*user.namespace;
    let spec = |name: &str| {
        json!({
            "secretName": "shared",
            "dnsNames": [user.host(name)],
            "issuerRef": { "kind": "ClusterIssuer", "name": issuer },
        })
    };
    user.apply_certificate("first", spec("first")).await?;
    user.await_issued("first", harness::TIMEOUT).await?;
    user.apply_certificate("second", spec("second")).await?;
    let told = user.await_certificate("second", "say whose the Secret is", harness::TIMEOUT, |it| {
        let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
        condition::find(conditions, "Ready").is_some_and(|ready| {
            ready.reason.as_deref() == Some("IncorrectCertificate")
                && ready.message.as_deref().is_some_and(|message| message.contains("\"first\""))
        })
    });
    told.await?;
    let requests: BTreeSet<_> = user.names::<CertificateRequest>().await?.into_iter().collect();
    ensure!(requests == BTreeSet::from(["first-1".to_owned()]), "{requests:?}");
    Ok(())
}

/// Issuers with a wrong URL, CA, external account or key say what is wrong.
pub async fn an_issuer_that_can_not_work_says_why(user: &User<'_>) -> Result<()> {
    let issuer = &*user.namespace;
    let pebble = Pebble::of_cluster(user.cluster)?;
    let url = pebble.directory_url();
    let bound = Settings {
        external_account_keys: [(
            "kid".to_owned(),
            "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA".to_owned(),
        )]
        .into(),
        ..Settings::calm()
    };
    let bound = Pebble::in_cluster(user.cluster, &bound).await?;
    let another_key: Secret = serde_json::from_value(json!({
        "metadata": { "name": format!("{issuer}-mac") },
        "stringData": { "mac": "YW5vdGhlci1hbm90aGVyLWFub3RoZXItYW5vdGhlci1hbm90aGVy" },
    }))?;
    let of_operator: Api<Secret> = Api::namespaced(user.client.clone(), operator::NAME);
    of_operator.create(&PostParams::default(), &another_key).await?;
    let account = |secret: &str| json!({ "keyID": "kid", "keySecretRef": { "name": secret, "key": "mac" } });
    for (pebble, change, words) in [
        (&pebble, json!({ "server": url.replace("/dir", "/nothing") }), "check spec.acme.server"),
        (&pebble, json!({ "caBundle": null, "skipTLSVerify": false }), "certificate"),
        (&pebble, json!({ "caBundle": "bm8gUEVN" }), "caBundle"),
        (&pebble, json!({ "externalAccountBinding": account("missing") }), "\"missing\""),
        (&bound, json!({}), "set spec.acme.externalAccountBinding"),
        (&bound, json!({ "externalAccountBinding": account(&format!("{issuer}-mac")) }), "gave out together"),
        (
            &pebble,
            json!({ "disableAccountKeyGeneration": true, "privateKeySecretRef": { "name": "no-key" } }),
            "no-key",
        ),
    ] {
        let name = format!("{issuer}-{}", words.len());
        user.apply_cluster_issuer(&name, pebble, change.clone()).await?;
        let ready = user
            .await_cluster_issuer(&name, "say what is wrong", |ready| {
                ready.message.as_deref().is_some_and(|message| message.contains(words))
            })
            .await
            .with_context(|| change.to_string())?;
        ensure!(ready.status == ConditionStatus::False, "{ready:?}");
    }
    Ok(())
}

/// An Ingress with a hundred hosts gets one certificate, and nothing is left over.
pub async fn a_hundred_hosts_get_one_certificate(user: &User<'_>) -> Result<()> {
    let issuer = &*user.namespace;
    let hosts: Vec<_> = (0..100).map(|index| user.host(&format!("w{index}"))).collect();
    let began = Instant::now();
    user.apply_ingress("web", &hosts, issuer_annotation(issuer)).await?;
    user.await_issued("web", Duration::from_mins(2)).await?;
    println!("100 hosts in {:.1?}", began.elapsed());
    await_no_leftovers(user).await
}
