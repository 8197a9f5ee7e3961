//! Scenarios: what happens to users. Each is written once and tested twice, with our programs as processes without a node
//! (`operator/tests/apiserver_issuance.rs`) and in Pods (`e2e/tests/e2e_issuance`).
//!
//! A scenario has its own namespace, and a ready ClusterIssuer of the same name for the Pebble of the cluster. Knows users and
//! objects; must not know how our programs run. Next: `user.rs`.

use std::{
    collections::BTreeSet,
    slice,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use crds::{
    acme::{Challenge, Order},
    certmanager::CertificateRequest,
    condition::{self, ConditionStatus},
};
use k8s_openapi::api::{
    core::v1::{Event, Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;
use testbed::{
    cluster::Cluster,
    http::Trust,
    page,
    pebble::{Pebble, Settings},
    probe::{self, ServedChain},
};
use tokio::time::sleep;

use crate::{
    harness,
    matrix::Times,
    operator,
    user::{self, User, issuer_annotation},
};

/// Calls a macro with the names of all scenarios, so that no place misses one.
#[macro_export]
macro_rules! each_scenario {
    ($macro:ident) => {
        $macro!(
            deleted_ingress_leaves_nothing_behind,
            namespace_deletion_completes_during_an_order,
            shared_secret_belongs_to_the_older_certificate,
            broken_issuers_report_the_cause,
            hundred_hosts_get_one_certificate,
            handmade_secret_is_served_until_it_is_replaced,
        );
    };
}

/// Starts an issuance that can't finish: no ingress controller serves the class of the issuer, so the challenge waits.
async fn start_stuck_issuance(user: &User<'_>) -> Result<()> {
    let issuer = &*user.namespace;
    let change = json!({ "solvers": [{ "http01": { "ingress": { "ingressClassName": "not-served" } } }] });
    user.create_cluster_issuer(issuer, &Pebble::of_cluster(user.cluster)?, change).await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation(issuer)).await
}

/// Waits until the namespace contains no objects of a challenge and no next key.
pub async fn await_no_leftovers(user: &User<'_>) -> Result<()> {
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let mut left = user.names::<Challenge>().await?;
        let mut routes = user.names::<Service>().await?;
        routes.extend(user.names::<EndpointSlice>().await?);
        routes.extend(user.names::<Ingress>().await?);
        left.extend(routes.into_iter().filter(|name| name.starts_with("cm-acme")));
        let keys = ListParams::default().labels("cert-manager.io/next-private-key=true");
        left.extend(user.api::<Secret>().list(&keys).await?.items.iter().map(ResourceExt::name_any));
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{left:?} were not deleted; {}", user.log());
        sleep(Duration::from_millis(100)).await;
    }
}

/// An Ingress is deleted while its challenge waits. Before, the Certificate says what the challenge waits for; afterwards, nothing
/// is left.
pub async fn deleted_ingress_leaves_nothing_behind(user: &User<'_>) -> Result<()> {
    start_stuck_issuance(user).await?;
    // The reason of the Challenge is passed on to the Certificate.
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
    let orders = user.names::<Order>().await?;
    ensure!(orders.is_empty(), "{orders:?} were not deleted");
    let secrets = user.names::<Secret>().await?;
    ensure!(secrets.is_empty(), "{secrets:?} were not deleted");
    Ok(())
}

/// A namespace is deleted while an order is in progress. It is gone within 30 seconds.
pub async fn namespace_deletion_completes_during_an_order(user: &User<'_>) -> Result<()> {
    start_stuck_issuance(user).await?;
    let deadline = Instant::now() + harness::TIMEOUT;
    while user.names::<Challenge>().await?.is_empty() {
        ensure!(Instant::now() < deadline, "no Challenge was created; {}", user.log());
        sleep(Duration::from_millis(20)).await;
    }
    let namespaces: Api<Namespace> = Api::all(user.client.clone());
    let began = Instant::now();
    namespaces.delete(&user.namespace, &DeleteParams::default()).await?;
    while namespaces.get_opt(&user.namespace).await?.is_some() {
        ensure!(began.elapsed() < Duration::from_secs(30), "the namespace still exists after 30 s");
        sleep(Duration::from_millis(100)).await;
    }
    println!("the namespace was deleted in {:.1?}", began.elapsed());
    Ok(())
}

/// Two Certificates name the same Secret. The older one gets it; the other one says so and orders nothing.
pub async fn shared_secret_belongs_to_the_older_certificate(user: &User<'_>) -> Result<()> {
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
    let reported = user.await_certificate("second", "name the owner of the Secret", harness::TIMEOUT, |it| {
        let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
        condition::find(conditions, "Ready").is_some_and(|ready| {
            ready.reason.as_deref() == Some("IncorrectCertificate")
                && ready.message.as_deref().is_some_and(|message| message.contains("\"first\""))
        })
    });
    reported.await?;
    let requests: BTreeSet<_> = user.names::<CertificateRequest>().await?.into_iter().collect();
    ensure!(
        requests == BTreeSet::from(["first-1".to_owned()]),
        "only the first one may request a certificate: {requests:?}"
    );
    Ok(())
}

/// Issuers with a wrong URL, CA, external account, or key say what is wrong.
pub async fn broken_issuers_report_the_cause(user: &User<'_>) -> Result<()> {
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
        (&pebble, json!({ "server": url.replace("/dir", "/nothing") }), "Check spec.acme.server"),
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
            .await_cluster_issuer(&name, &format!("report {words:?}"), |ready| {
                ready.message.as_deref().is_some_and(|message| message.contains(words))
            })
            .await
            .with_context(|| change.to_string())?;
        ensure!(ready.status == ConditionStatus::False, "a broken issuer is not unready: {ready:?}");
    }
    Ok(())
}

/// An Ingress with a hundred hosts gets one certificate, and nothing is left behind.
pub async fn hundred_hosts_get_one_certificate(user: &User<'_>) -> Result<()> {
    let issuer = &*user.namespace;
    let hosts: Vec<_> = (0..100).map(|index| user.host(&format!("w{index}"))).collect();
    let began = Instant::now();
    user.apply_ingress("web", &hosts, issuer_annotation(issuer)).await?;
    user.await_issued("web", Duration::from_mins(2)).await?;
    println!("a certificate for 100 hosts was issued in {:.1?}", began.elapsed());
    await_no_leftovers(user).await
}

/// The order of many tutorials: a user creates the TLS Secret with kubectl, and annotates the Ingress later. Their certificate is served
/// until the first one that is issued replaces it, and an event says so.
pub async fn handmade_secret_is_served_until_it_is_replaced(user: &User<'_>) -> Result<()> {
    let (name, host) = ("handmade", user.host("handmade"));
    let made = rcgen::generate_simple_self_signed([host.clone()])?;
    let folder = tempfile::tempdir()?;
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let mut create = user.cluster.kubectl();
    create.args(["create", "secret", "tls", name, "--namespace", &user.namespace]);
    let created = create.arg("--cert").arg(&certificate).arg("--key").arg(&key).output().await?;
    ensure!(created.status.success(), "{}", xtask::process::text(&created));
    user.apply_ingress(name, slice::from_ref(&host), json!({})).await?;
    let served = async || probe::tls(&user.cluster.network(), &host, 443, &host, &Trust::Nothing).await;
    let is_theirs = |chain: &ServedChain| chain.leaf() == made.cert.der();
    let deadline = Instant::now() + harness::TIMEOUT;
    while !served().await.as_ref().is_ok_and(is_theirs) {
        ensure!(Instant::now() < deadline, "the certificate of the user is not served");
        sleep(Duration::from_millis(100)).await;
    }

    user.apply_ingress(name, slice::from_ref(&host), issuer_annotation(&user.namespace)).await?;
    let root = Pebble::of_cluster(user.cluster)?.issuing_root(0).await?;
    loop {
        let chain = probe::tls(&user.cluster.network(), &host, 443, &host, &root).await?;
        if chain.verdict.is_ok() {
            break;
        }
        ensure!(is_theirs(&chain), "neither certificate is served: {:?}", chain.verdict);
        ensure!(Instant::now() < deadline, "the certificate of the user is not replaced");
        sleep(Duration::from_millis(20)).await;
    }
    let events = user.api::<Event>().list(&ListParams::default()).await?;
    let says =
        |event: &Event| event.message.as_deref().is_some_and(|it| it.contains("is served until the new one"));
    ensure!(events.iter().any(says), "no event is about the Secret of the user: {events:?}");
    Ok(())
}

/// The example manifests of users, applied unchanged in a cluster whose Ingresses have the class `nginx`: the page is served with a valid
/// certificate. Returns the user, whose Ingress is called `example`.
pub async fn example_is_served(cluster: &Cluster) -> Result<User<'_>> {
    let user = User::new(cluster, "default").await?;
    let pebble = Pebble::of_cluster(cluster)?;
    let bundle = user::ca_bundle(&pebble)?;
    let issuer = include_str!("../manifests/example-issuer.yaml")
        .replace("$SERVER", &pebble.directory_url())
        .replace("$CA_BUNDLE", bundle.as_str().unwrap_or_default());
    cluster.apply(&issuer).await?;
    page::serve_page(cluster, &user.namespace, "web", &user.host("other")).await?;
    let host = user.host("web");
    let ingress = include_str!("../manifests/example-ingress.yaml").replace("$HOST", &host);
    cluster.apply_in(Some(&user.namespace), &ingress).await?;
    let root = pebble.issuing_root(0).await?;
    let page = page::await_page(cluster, &format!("https://{host}/hostname"), &root, harness::TIMEOUT).await;
    let page = page.with_context(|| user.log())?;
    ensure!(page == "web", "the page is {page:?}");
    Ok(user)
}

/// Waits until the certificates of all names are issued, and then until their hosts are served. Returns how long both took since `began`.
pub async fn all_are_served(
    user: &User<'_>,
    names: &[String],
    root: &Trust,
    began: tokio::time::Instant,
) -> Result<Times> {
    for name in names {
        user.await_issued(name, harness::TIMEOUT).await?;
    }
    let issued = began.elapsed();
    for name in names {
        user.await_served(&user.host(name), root, harness::TIMEOUT).await?;
    }
    Ok(Times::new(issued, began.elapsed()))
}

/// While a certificate is renewed, every TLS handshake with the host of the same name gets one that is valid.
pub async fn renewal_is_served_without_a_gap(user: &User<'_>, name: &str, root: &Trust) -> Result<()> {
    let host = user.host(name);
    let before = user.await_secret(name, harness::TIMEOUT).await?.resource_version();
    let renew = json!({ "status": { "conditions": [{
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "by a user",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] } });
    let patch = ["patch", "certificate", name, "--subresource=status", "--type=merge", "--namespace"];
    let mut kubectl = user.cluster.kubectl();
    kubectl.args(patch).arg(&user.namespace).arg("--patch").arg(renew.to_string());
    ensure!(kubectl.output().await?.status.success(), "the renewal can't be requested");
    let (mut handshakes, deadline) = (0, Instant::now() + Duration::from_secs(10));
    while Instant::now() < deadline {
        let served = probe::tls(&user.cluster.network(), &host, 443, &host, root).await?;
        served.verdict.map_err(|error| anyhow::anyhow!("a handshake got a bad certificate: {error:?}"))?;
        handshakes += 1;
        sleep(Duration::from_millis(50)).await;
    }
    let after = user.await_secret(name, harness::TIMEOUT).await?.resource_version();
    ensure!(after != before, "the certificate was not renewed within 10 s");
    println!("{handshakes} handshakes during a renewal got a valid certificate");
    Ok(())
}
