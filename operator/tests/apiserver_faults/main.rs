//! What goes wrong in users' clusters: each fault is reported on the object that it belongs to, and is over soon after the user has
//! corrected it. From public bug reports about certificates in Kubernetes.
//!
//! Knows users and objects; must not know controllers. Next: `leftovers.rs` for what is found under a name that is needed, and
//! `decision/certificate/tests/problems.rs` for the same without a cluster.

mod ingress_controllers;
mod leftovers;
mod support;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::{acme::Order, certmanager::Certificate};
use e2e::{
    harness, scenarios,
    user::{User, secret_value},
};
use k8s_openapi::api::{
    admissionregistration::v1::ValidatingAdmissionPolicyBinding,
    core::v1::{ResourceQuota, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use operator::pki;
use serde_json::json;
use testbed::cluster::NODE_ADDRESS;
use tokio::time::{Instant, sleep};

use self::support::{
    HEALED, REPORTED, RETRIED, WAIT_REPORTED, apply, apply_certificate, apply_ingress, apply_issuer,
    await_healed, await_names, await_secret, await_told, await_warning, certificate, patch, user,
};

/// The issuer's ingress class is corrected while a Challenge waits.
#[tokio::test]
async fn corrected_class_replaces_the_challenge() -> Result<()> {
    let solver = json!({ "http01": { "ingress": { "ingressClassName": "nothing" } } });
    let user = user("f-class", json!({ "solvers": [solver] })).await?;
    apply_certificate(&user, json!({})).await?;
    await_told(&user, WAIT_REPORTED, "propagation").await?;
    apply_issuer(&user, json!({})).await?;
    await_healed(&user, HEALED).await.map(drop)
}

#[tokio::test]
async fn missing_solver_is_named_and_then_used() -> Result<()> {
    let user = user("f-solver", json!({})).await?;
    let mut solver = json!({ "selector": { "dnsNames": ["other.example.test"] } });
    solver["http01"] = json!({ "ingress": { "ingressClassName": user.cluster.ingress_class() } });
    apply_issuer(&user, json!({ "solvers": [solver] })).await?;
    apply_certificate(&user, json!({})).await?;
    await_told(
        &user,
        REPORTED,
        &format!("no configured challenge solvers can be used for {}", user.host("web")),
    )
    .await?;
    await_warning(&user, "Certificate", REPORTED, "no configured challenge solvers").await?;
    apply_issuer(&user, json!({})).await?;
    let certificate = await_healed(&user, HEALED).await?;
    ensure!(certificate.status.is_some_and(|it| it.failed_issuance_attempts.is_none()), "an attempt failed");
    Ok(())
}

#[tokio::test]
async fn missing_issuer_is_named_on_certificate_and_ingress() -> Result<()> {
    let user = user("f-issuer", json!({})).await?;
    apply_ingress(&user, json!({ "cert-manager.io/issuer": "pebbel" })).await?;
    let problem = "issuer.cert-manager.io \"pebbel\" not found. Create it, or correct the annotation that names it, or else spec.issuerRef";
    await_told(&user, REPORTED, problem).await?;
    await_warning(&user, "Ingress", REPORTED, problem).await?;
    apply_ingress(&user, json!({})).await?;
    await_healed(&user, HEALED).await.map(drop)
}

#[tokio::test]
async fn exceeded_quota_is_reported_until_it_is_raised() -> Result<()> {
    let user = user("f-quota", json!({})).await?;
    let quota = |most: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": { "name": "ingresses" },
            "spec": { "hard": { "count/ingresses.networking.k8s.io": most } },
        })
    };
    apply(&user, quota("0")).await?;
    let is_counted = |it: Option<&ResourceQuota>| {
        it.is_some_and(|it| it.status.as_ref().is_some_and(|it| it.used.is_some()))
    };
    harness::await_condition(user.api(), "ingresses", "be counted", harness::TIMEOUT, is_counted).await?;
    apply_certificate(&user, json!({})).await?;
    await_told(&user, REPORTED, "exceeded quota").await?;
    await_warning(&user, "Challenge", REPORTED, "exceeded quota").await?;
    await_warning(&user, "Certificate", REPORTED, "exceeded quota").await?;
    apply(&user, quota("5")).await?;
    await_healed(&user, RETRIED).await?;
    let orders = user.names::<Order>().await?;
    ensure!(orders.len() == 1, "the Orders are {orders:?}");
    Ok(())
}

/// Admission webhooks of ingress controllers reject a path of type Exact that has a dot.
#[tokio::test]
async fn rejected_path_type_is_replaced() -> Result<()> {
    let user = user("f-path", json!({})).await?;
    let cel = "!object.spec.rules.exists(r, has(r.http) && r.http.paths.exists(p, p.pathType == 'Exact' && p.path.contains('.')))";
    apply_policy(&user, "ingresses", "networking.k8s.io", cel, "the path has a dot").await?;
    apply_certificate(&user, json!({})).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    scenarios::await_no_leftovers(&user).await
}

#[tokio::test]
async fn rejection_by_a_policy_is_reported_with_its_words() -> Result<()> {
    let user = user("f-policy", json!({})).await?;
    let cel = "has(object.metadata.labels) && 'team' in object.metadata.labels";
    apply_policy(&user, "services", "", cel, "a Service needs the label team").await?;
    apply_certificate(&user, json!({})).await?;
    await_told(&user, REPORTED * 2, "a Service needs the label team").await?;
    let policies: Api<ValidatingAdmissionPolicyBinding> = Api::all(user.client.clone());
    policies.delete(&user.namespace, &DeleteParams::default()).await?;
    await_healed(&user, RETRIED).await.map(drop)
}

/// An annotation with configuration for the ingress controller, in the template of an Issuer that a tenant can write.
#[tokio::test]
async fn snippet_of_a_tenant_is_refused() -> Result<()> {
    let user = user("f-snippet", json!({})).await?;
    let annotations = json!({ "nginx.ingress.kubernetes.io/server-snippet": "return 200;" });
    let mut solver = json!({ "http01": { "ingress": { "ingressClassName": user.cluster.ingress_class() } } });
    solver["http01"]["ingress"]["ingressTemplate"] = json!({ "metadata": { "annotations": annotations } });
    apply_issuer(&user, json!({ "solvers": [solver] })).await?;
    apply_certificate(&user, json!({})).await?;
    await_told(&user, WAIT_REPORTED, "which only a ClusterIssuer may set").await?;
    ensure!(user.names::<Ingress>().await?.is_empty(), "an Ingress was created");
    apply_issuer(&user, json!({})).await?;
    await_healed(&user, HEALED).await.map(drop)
}

/// What routes a challenge is deleted while the challenge waits.
#[tokio::test]
async fn deleted_routes_are_written_again() -> Result<()> {
    let solver = json!({ "http01": { "ingress": { "ingressClassName": "nothing" } } });
    let user = user("f-slices", json!({ "solvers": [solver] })).await?;
    apply_certificate(&user, json!({})).await?;
    await_told(&user, WAIT_REPORTED, "propagation").await?;
    let all = (DeleteParams::default(), ListParams::default());
    user.api::<EndpointSlice>().delete_collection(&all.0, &all.1).await?;
    user.api::<Ingress>().delete_collection(&all.0, &all.1).await?;
    await_names::<EndpointSlice>(&user, "EndpointSlices", |names| !names.is_empty()).await?;
    await_names::<Ingress>(&user, "an Ingress", |names| !names.is_empty()).await?;
    apply_issuer(&user, json!({})).await?;
    await_healed(&user, HEALED).await.map(drop)
}

/// A namespace has an EndpointSlice whose Pods http01-solver no longer has, as after its Service was created again.
#[tokio::test]
async fn slice_without_solver_pods_is_emptied() -> Result<()> {
    let solver = json!({ "http01": { "ingress": { "ingressClassName": "nothing" } } });
    let user = user("f-surplus", json!({ "solvers": [solver] })).await?;
    apply_certificate(&user, json!({})).await?;
    await_told(&user, WAIT_REPORTED, "propagation").await?;
    let service = user.api::<Service>().get("cm-acme-http-solver").await?;
    let surplus = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "cm-acme-http-solver-surplus",
            "labels": {
                "app.kubernetes.io/managed-by": "acme-operator",
                "kubernetes.io/service-name": "cm-acme-http-solver",
            },
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "Service",
                "name": "cm-acme-http-solver",
                "uid": service.uid(),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["192.0.2.1"] }],
        "ports": [{ "name": "http", "port": 8089, "protocol": "TCP" }],
    });
    apply(&user, surplus).await?;
    let slices = user.api::<EndpointSlice>();
    let started = Instant::now();
    while !slices.get("cm-acme-http-solver-surplus").await?.endpoints.is_empty() {
        ensure!(started.elapsed() < RETRIED, "the surplus EndpointSlice keeps its addresses");
        sleep(Duration::from_millis(50)).await;
    }
    let left = slices.list(&ListParams::default()).await?;
    ensure!(left.iter().any(|slice| !slice.endpoints.is_empty()), "the solver's own addresses are gone");
    apply_issuer(&user, json!({})).await?;
    await_healed(&user, HEALED).await.map(drop)
}

/// `--acme-http01-solver-extra-labels` is set to the label that the policy asks for.
#[tokio::test]
async fn extra_labels_satisfy_a_policy() -> Result<()> {
    let user = user("f-labels", json!({})).await?;
    let cel = "has(object.metadata.labels) && 'routes' in object.metadata.labels";
    apply_policy(&user, "services", "", cel, "a Service needs the label routes").await?;
    apply_certificate(&user, json!({})).await?;
    user.await_issued("web", harness::TIMEOUT).await.map(drop)
}

#[tokio::test]
async fn address_among_hosts_becomes_an_ip_address() -> Result<()> {
    let user = user("f-address", json!({})).await?;
    let address = NODE_ADDRESS.to_string();
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "web", "annotations": { "cert-manager.io/issuer": "pebble" } },
        "spec": {
            "tls": [{ "hosts": [address], "secretName": "web" }],
            "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } },
        },
    });
    apply(&user, ingress).await?;
    let issued = user.await_issued("web", harness::TIMEOUT).await?.spec;
    ensure!(issued.ip_addresses == Some(vec![address]) && issued.dns_names.is_none(), "{issued:?}");
    Ok(())
}

/// Applies an admission policy for the namespace, and waits until it counts.
async fn apply_policy(user: &User<'_>, resource: &str, group: &str, cel: &str, message: &str) -> Result<()> {
    let name = &user.namespace;
    for object in [
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": name },
            "spec": {
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource],
                }] },
                "validations": [{ "expression": cel, "message": message }],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": name },
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } },
            },
        }),
    ] {
        user.cluster.apply(&object.to_string()).await?;
    }
    let probe = match resource {
        "services" => json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "probe" },
            "spec": { "ports": [{ "port": 80 }] },
        }),
        _ => json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": "probe" },
            "spec": { "rules": [{ "http": { "paths": [{
                "path": "/.probe", "pathType": "Exact",
                "backend": { "service": { "name": "probe", "port": { "number": 80 } } },
            }] } }] },
        }),
    };
    let began = Instant::now();
    while apply(user, probe.clone()).await.is_ok() {
        ensure!(began.elapsed() < harness::TIMEOUT, "the policy {name} never counts");
        let kind = if resource == "services" { "service/probe" } else { "ingress/probe" };
        user.cluster.kubectl().args(["delete", kind, "--namespace", name]).output().await?;
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn annotation_that_the_api_rejects_is_reported() -> Result<()> {
    let user = user("f-annotation", json!({})).await?;
    apply_ingress(&user, json!({ "cert-manager.io/common-name": "x".repeat(70) })).await?;
    await_warning(&user, "Ingress", REPORTED, "spec.commonName").await?;
    apply_ingress(&user, json!({ "cert-manager.io/common-name": null })).await?;
    await_healed(&user, HEALED).await.map(drop)
}

#[tokio::test]
async fn ingress_without_hosts_is_reported() -> Result<()> {
    let user = user("f-hosts", json!({})).await?;
    apply(
        &user,
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "name": "web", "annotations": { "cert-manager.io/issuer": "pebble" } },
            "spec": {
                "tls": [{ "secretName": "web" }],
                "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } },
            },
        }),
    )
    .await?;
    await_warning(&user, "Ingress", REPORTED, "spec.tls[0] has no hosts").await
}

#[tokio::test]
async fn internationalized_name_is_rejected_with_its_a_label() -> Result<()> {
    let user = user("f-unicode", json!({})).await?;
    apply_certificate(&user, json!({ "dnsNames": ["b\u{fc}cher.example.test"] })).await?;
    await_told(&user, REPORTED, "xn--bcher-kva.example.test").await?;
    await_warning(&user, "Certificate", REPORTED, "xn--bcher-kva.example.test").await?;
    apply_certificate(&user, json!({})).await?;
    await_healed(&user, HEALED).await.map(drop)
}

#[tokio::test]
async fn immutable_secret_is_reported_and_orders_nothing_more() -> Result<()> {
    let user = user("f-immutable", json!({})).await?;
    apply_certificate(&user, json!({})).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    let before = certificate(&user).await?;
    patch::<Secret>(&user, "web", json!({ "immutable": true })).await?;
    renew(&user).await?;
    await_told(&user, HEALED, "field is immutable when `immutable` is set").await?;
    let orders = user.names::<Order>().await?;
    harness::assert_stays(
        "nothing more is ordered, and the old certificate is kept",
        harness::QUIET,
        async || {
            ensure!(user.names::<Order>().await? == orders, "another order was placed");
            ensure!(certificate(&user).await? == before, "the certificate has changed");
            Ok(())
        },
    )
    .await
}

/// The same patch as `cmctl renew`.
async fn renew(user: &User<'_>) -> Result<()> {
    let certificate = user.api::<Certificate>().get("web").await?;
    let mut conditions = certificate.status.unwrap_or_default().conditions;
    let issuing = json!({
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    conditions.push(serde_json::from_value(issuing)?);
    let status = json!({ "status": { "conditions": conditions } });
    user.api::<Certificate>().patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

/// `renewBefore` is nearly as long as the CA's lifetime, so that each certificate is due immediately.
#[tokio::test]
async fn certificate_that_is_always_due_is_not_ordered_in_a_loop() -> Result<()> {
    let user = user("f-loop", json!({})).await?;
    apply_certificate(&user, json!({})).await?;
    let issued = user.await_issued("web", harness::TIMEOUT).await?.status.context("a status")?;
    let (begin, end) = (issued.not_before.context("notBefore")?.0, issued.not_after.context("notAfter")?.0);
    let before = end.duration_since(begin).as_secs() - 2;
    apply_certificate(
        &user,
        json!({ "duration": format!("{}s", before + 2), "renewBefore": format!("{before}s") }),
    )
    .await?;
    await_told(&user, HEALED * 3, "certificates were requested 2 times in a row").await?;
    await_warning(&user, "Certificate", REPORTED, "certificates were requested 2 times in a row").await?;
    harness::assert_stays("nothing more is issued", Duration::from_secs(10), async || {
        let revision = user.api::<Certificate>().get("web").await?.status.and_then(|it| it.revision);
        ensure!(revision <= Some(3), "the revision is {revision:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn keystore_waits_for_its_password_and_follows_it() -> Result<()> {
    let user = user("f-password", json!({})).await?;
    let store = json!({ "create": true, "passwordSecretRef": { "name": "passwords", "key": "jks" } });
    apply_certificate(&user, json!({ "keystores": { "jks": store } })).await?;
    await_told(&user, REPORTED * 2, "the keystore password in the Secret \"passwords\"").await?;
    let password = |password: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "passwords" }, "stringData": { "jks": password },
        })
    };
    apply(&user, password("secret")).await?;
    await_healed(&user, RETRIED).await?;
    let opens = |secret: &Secret, password: &str| {
        pki::jks_matches(secret_value(Some(secret), "keystore.jks"), "certificate", password)
    };
    let before = certificate(&user).await?;
    await_secret(&user, "have a keystore", |it| opens(it, "secret")).await?;
    apply(&user, password("another")).await?;
    await_secret(&user, "have a keystore with the new password", |it| opens(it, "another")).await?;
    ensure!(certificate(&user).await? == before, "another certificate was issued");
    Ok(())
}
