//! Writes with the operator's own token that the installed policies must reject. Next: `operator/tests/apiserver_rights.rs` for all of them.

use anyhow::Result;
use e2e::{intruder::Intruder, user::User};
use k8s_openapi::api::{core::v1::Secret, discovery::v1::EndpointSlice, networking::v1::Ingress};
use kube::api::PostParams;
use serde_json::json;

/// Ensures that the policies of a release reject changes of a user's Secret, EndpointSlice, and Ingress.
pub(crate) async fn ensure_rejected(user: &User<'_>, release: &str, ingress: &str) -> Result<()> {
    let intruder = Intruder::new(user.cluster, release, &user.namespace).await?;
    let create = PostParams::default();
    let secret = json!({ "metadata": { "name": "theirs" }, "stringData": { "password": "theirs" } });
    user.api::<Secret>().create(&create, &serde_json::from_value(secret)?).await?;
    let slice = json!({
        "metadata": { "name": "theirs", "labels": { "kubernetes.io/service-name": "theirs" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.0.0.1"] }],
    });
    user.api::<EndpointSlice>().create(&create, &serde_json::from_value(slice)?).await?;

    let password = json!({ "stringData": { "password": "forged" } });
    intruder
        .ensure_no_change::<Secret>("theirs", password, "may change only Secrets of Certificates")
        .await?;
    let elsewhere = json!({ "endpoints": [{ "addresses": ["10.0.0.2"] }] });
    intruder.ensure_no_change::<EndpointSlice>("theirs", elsewhere, "may write only the Service").await?;
    let rules = json!({ "spec": { "rules": [{ "host": "forged.example.test" }] } });
    intruder.ensure_no_change::<Ingress>(ingress, rules, "may change only paths under").await
}
