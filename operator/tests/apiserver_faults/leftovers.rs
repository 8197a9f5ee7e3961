//! What is left behind, restored from a backup, or no longer asked for: it is adopted, replaced, or removed, and nothing is issued
//! needlessly.

use std::fmt::Debug;

use anyhow::{Context, Result, ensure};
use crds::{
    acme::{Challenge, Order},
    certmanager::{Certificate, CertificateRequest, Issuer},
};
use e2e::{
    harness,
    user::{User, secret_value},
};
use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, PropagationPolicy},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::support::{
    HEALED, REPORTED, apply, apply_certificate, apply_ingress, apply_issuer, await_healed, await_names,
    await_secret, await_warning, certificate, patch, user,
};

/// Deletes an object and leaves what it owns.
async fn delete_alone<K>(user: &User<'_>, name: &str) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Serialize
        + 'static,
{
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    user.api::<K>().delete(name, &orphan).await?;
    harness::await_condition(user.api::<K>(), name, "be gone", harness::TIMEOUT, |it: Option<&K>| {
        it.is_none()
    })
    .await
    .map(drop)
}

/// A Certificate was deleted without what it owns, and created again.
#[tokio::test]
async fn orphaned_request_is_replaced() -> Result<()> {
    let user = user("f-orphan-request", json!({})).await?;
    apply_certificate(&user, json!({})).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    delete_alone::<Certificate>(&user, "web").await?;
    user.api::<Secret>().delete("web", &DeleteParams::default()).await?;
    apply_certificate(&user, json!({})).await?;
    await_healed(&user, HEALED).await.map(drop)
}

/// A CertificateRequest was deleted without its Order, whose solver waits.
#[tokio::test]
async fn orphaned_order_is_adopted() -> Result<()> {
    let user = user("f-orphan-order", json!({})).await?;
    let class = user.cluster.ingress_class().to_owned();
    let solver =
        json!({ "http01": { "ingress": { "ingressClassName": class } }, "waitInsteadOfSelfCheck": "5s" });
    apply_issuer(&user, json!({ "solvers": [solver] })).await?;
    apply_certificate(&user, json!({})).await?;
    let one = |challenges: Vec<String>| challenges.len() == 1;
    await_names::<Challenge>(&user, "one Challenge", one).await?;
    delete_alone::<CertificateRequest>(&user, "web-1").await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    let orders = user.names::<Order>().await?;
    ensure!(orders.len() == 1, "the Orders are {orders:?}");
    Ok(())
}

/// A chart's value for the issuer was empty for a while.
#[tokio::test]
async fn empty_issuer_annotation_keeps_the_certificate() -> Result<()> {
    let user = user("f-empty", json!({})).await?;
    apply_ingress(&user, json!({})).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    apply_ingress(&user, json!({ "cert-manager.io/issuer": "" })).await?;
    await_warning(&user, "Ingress", REPORTED, "is empty").await?;
    harness::assert_stays("the Certificate is kept", harness::QUIET, async || {
        user.api::<Certificate>().get("web").await?;
        Ok(())
    })
    .await
}

/// A Certificate without usages, as an older version created it, and with an output format that a user added.
#[tokio::test]
async fn fields_without_an_annotation_are_left_alone() -> Result<()> {
    let user = user("f-fields", json!({})).await?;
    apply_certificate(&user, json!({})).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    let before = certificate(&user).await?;
    apply_ingress(&user, json!({})).await?;
    await_warning(&user, "Ingress", REPORTED, "was not created for this Ingress").await?;
    let uid = user.api::<Ingress>().get("web").await?.uid();
    let owner = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "web", "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    });
    patch::<Certificate>(&user, "web", json!({ "metadata": { "ownerReferences": [owner] } })).await?;
    let formats = json!({ "spec": { "additionalOutputFormats": [{ "type": "CombinedPEM" }] } });
    patch::<Certificate>(&user, "web", formats).await?;
    await_secret(&user, "have both formats", |it| !secret_value(Some(it), "tls-combined.pem").is_empty())
        .await?;
    harness::assert_stays("nothing is issued or taken back", harness::QUIET, async || {
        let spec = user.api::<Certificate>().get("web").await?.spec;
        ensure!(spec.additional_output_formats.is_some() && spec.usages.is_none(), "the spec is {spec:?}");
        ensure!(certificate(&user).await? == before, "another certificate was issued");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn old_requests_are_deleted_however_numbered() -> Result<()> {
    let user = user("f-history", json!({})).await?;
    apply_certificate(&user, json!({})).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    let first = user.api::<CertificateRequest>().get("web-1").await?;
    for number in 2..30 {
        let mut copy = first.clone();
        copy.metadata = ObjectMeta {
            name: Some(format!("web-{number}")),
            annotations: first.metadata.annotations.clone(),
            owner_references: first.metadata.owner_references.clone(),
            ..ObjectMeta::default()
        };
        copy.annotations_mut().insert("cert-manager.io/certificate-revision".into(), number.to_string());
        copy.spec.issuer_ref.group = Some("example.com".into());
        copy.status = None;
        user.api::<CertificateRequest>().create(&PostParams::default(), &copy).await?;
    }
    let revision = json!({ "status": { "revision": 30 } });
    user.api::<Certificate>().patch_status("web", &PatchParams::default(), &Patch::Merge(revision)).await?;
    await_names::<CertificateRequest>(&user, "one CertificateRequest", |names| names.len() <= 1).await
}

#[tokio::test]
async fn content_that_the_spec_drops_is_removed() -> Result<()> {
    let user = user("f-stale", json!({})).await?;
    let template =
        json!({ "labels": { "tier": "a", "kept": "b" }, "annotations": { "example.com/mirror": "c" } });
    let stores = json!({ "pkcs12": { "create": true, "password": "secret" } });
    let formats = json!([{ "type": "DER" }, { "type": "CombinedPEM" }]);
    apply_certificate(
        &user,
        json!({ "secretTemplate": template, "keystores": stores, "additionalOutputFormats": formats }),
    )
    .await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    let before = certificate(&user).await?;
    let spec = json!({
        "secretTemplate": { "labels": { "tier": null }, "annotations": null }, "keystores": null, "additionalOutputFormats": null,
    });
    patch::<Certificate>(&user, "web", json!({ "spec": spec })).await?;
    await_secret(&user, "have only what the spec asks for", |it| {
        let keys: Vec<_> = it.data.iter().flatten().map(|(key, _)| key.as_str()).collect();
        keys == ["tls.crt", "tls.key"]
            && !it.labels().contains_key("tier")
            && it.labels().contains_key("kept")
            && !it.annotations().contains_key("example.com/mirror")
    })
    .await?;
    ensure!(certificate(&user).await? == before, "another certificate was issued");
    Ok(())
}

#[tokio::test]
async fn deleted_account_key_is_replaced() -> Result<()> {
    let user = user("f-account", json!({})).await?;
    let uri = |issuer: &Issuer| issuer.status.as_ref()?.acme.as_ref()?.uri.clone();
    let registered = harness::await_condition(
        user.api(),
        "pebble",
        "be ready",
        harness::TIMEOUT,
        |it: Option<&Issuer>| it.is_some_and(|it| uri(it).is_some()),
    );
    let before = registered.await?.and_then(|it| uri(&it));
    // An order that is in progress starts over with the new account.
    let waiting = json!({ "http01": { "ingress": { "ingressClassName": "nothing" } } });
    apply_issuer(&user, json!({ "solvers": [waiting] })).await?;
    apply_certificate(&user, json!({})).await?;
    await_names::<Challenge>(&user, "a Challenge", |names| names.len() == 1).await?;
    user.api::<Secret>().delete("pebble-account", &DeleteParams::default()).await?;
    let replaced = harness::await_condition(
        user.api(),
        "pebble",
        "have another account",
        HEALED,
        |it: Option<&Issuer>| it.and_then(uri).is_some_and(|uri| Some(uri) != before),
    );
    replaced.await.with_context(|| user.log())?;
    await_warning(&user, "Issuer", REPORTED, "put its key back").await?;
    apply_issuer(&user, json!({})).await?;
    let issued = await_healed(&user, HEALED).await?;
    let status = issued.status.context("no status")?;
    ensure!(status.failed_issuance_attempts.is_none() && status.revision == Some(1), "{status:?}");
    Ok(())
}

/// The API allows a rule without paths.
#[tokio::test]
async fn rule_without_paths_survives_an_edit_in_place() -> Result<()> {
    let user = user("f-in-place", json!({})).await?;
    let host = user.host("web");
    apply(
        &user,
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "name": "web", "annotations": {
                "cert-manager.io/issuer": "pebble", "acme.cert-manager.io/http01-edit-in-place": "true",
            } },
            "spec": {
                "ingressClassName": user.cluster.ingress_class(),
                "tls": [{ "hosts": [host], "secretName": "web" }],
                "rules": [{ "host": host }],
            },
        }),
    )
    .await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    await_names::<Challenge>(&user, "no Challenge", |names| names.is_empty()).await?;
    let rules = user.api::<Ingress>().get("web").await?.spec.and_then(|spec| spec.rules);
    ensure!(json!(rules) == json!([{ "host": host }]), "the rules are {rules:?}");
    Ok(())
}
