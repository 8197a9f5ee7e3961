//! Ingress controllers that differ from most: the operator does what they need, or says what a user has to do. None of these run here; only
//! their IngressClasses exist.

use anyhow::{Result, ensure};
use crds::certmanager::Certificate;
use e2e::{
    harness,
    user::{User, is_issued},
};
use futures::future::try_join_all;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::support::{
    HEALED, WAIT_REPORTED, apply_certificate, apply_ingress, apply_issuer, await_healed, await_told, patch,
    user,
};

/// A class of Ingresses that a controller with this name would serve.
async fn apply_class(user: &User<'_>, controller: &str) -> Result<String> {
    let name = user.namespace.clone();
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": { "name": name },
        "spec": { "controller": controller },
    });
    let classes: Api<IngressClass> = Api::all(user.client.clone());
    classes.patch(&name, &PatchParams::apply("user").force(), &Patch::Apply(&class)).await?;
    Ok(name)
}

async fn set_class(user: &User<'_>, class: &str) -> Result<()> {
    patch::<Ingress>(user, "web", json!({ "spec": { "ingressClassName": class } })).await.map(drop)
}

/// Adds annotations to the Ingress `web`, or removes those that are null.
async fn annotate(user: &User<'_>, annotations: Value) -> Result<()> {
    patch::<Ingress>(user, "web", json!({ "metadata": { "annotations": annotations } })).await.map(drop)
}

/// How many paths of challenges the Ingress `web` has.
fn challenge_paths(ingress: &Ingress) -> usize {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
    paths.filter(|path| path.path.as_deref().is_some_and(|it| it.starts_with("/.well-known/"))).count()
}

async fn await_paths(user: &User<'_>, number: usize) -> Result<()> {
    let what = format!("have {number} paths of challenges");
    let has = |ingress: Option<&Ingress>| ingress.is_some_and(|it| challenge_paths(it) == number);
    harness::await_condition(user.api::<Ingress>(), "web", &what, harness::TIMEOUT, has).await.map(drop)
}

/// The class is created after the Ingress. The Ingress moves to another class while the challenge waits, and so does the issuer's solver.
#[tokio::test]
async fn ingress_is_edited_for_some_controllers() -> Result<()> {
    let namespace = "f-one-per-host";
    let solver = json!({ "http01": { "ingress": { "ingressClassName": namespace } } });
    let user = user(namespace, json!({ "solvers": [solver] })).await?;
    apply_ingress(&user, json!({ "cert-manager.io/issuer": null })).await?;
    set_class(&user, &user.namespace).await?;
    apply_class(&user, "nginx.org/ingress-controller").await?;
    annotate(&user, json!({ "cert-manager.io/issuer": "pebble" })).await?;
    await_paths(&user, 1).await?;
    await_told(&user, WAIT_REPORTED, "the path of the challenge is in the Ingress \"web\"").await?;

    set_class(&user, user.cluster.ingress_class()).await?;
    await_paths(&user, 0).await?;
    apply_issuer(&user, json!({})).await?;
    await_healed(&user, HEALED).await?;
    await_paths(&user, 0).await?;
    let edited = user.api::<Certificate>().get("web").await?.annotations().clone();
    ensure!(!edited.contains_key("acme.cert-manager.io/http01-override-ingress-name"), "{edited:?}");
    Ok(())
}

#[tokio::test]
async fn waiting_challenge_names_the_sync_period() -> Result<()> {
    let namespace = "f-sync-period";
    let solver = json!({ "http01": { "ingress": { "ingressClassName": namespace } } });
    let user = user(namespace, json!({ "solvers": [solver] })).await?;
    apply_class(&user, "haproxy.org/ingress-controller/haproxy").await?;
    apply_certificate(&user, json!({})).await?;
    await_told(&user, WAIT_REPORTED, "--sync-period").await
}

/// The Certificate is issued, and says that Istio may not read its Secret, until that is not so any more.
#[tokio::test]
async fn secret_that_istio_does_not_read_is_mentioned() -> Result<()> {
    let user = user("f-own-secrets", json!({})).await?;
    apply_ingress(&user, json!({})).await?;
    set_class(&user, &user.namespace).await?;
    await_healed(&user, harness::TIMEOUT).await?;
    apply_class(&user, "istio.io/ingress-controller").await?;
    await_told(&user, HEALED, "Istio reads the Secrets of Ingresses in the namespace of its gateway's Pods")
        .await?;
    ensure!(is_issued(&user.api::<Certificate>().get("web").await?), "it is not ready");

    let classes: Api<IngressClass> = Api::all(user.client.clone());
    classes.delete(&user.namespace, &DeleteParams::default()).await?;
    user.await_certificate("web", "say nothing about Istio", HEALED, |it| {
        let conditions = it.status.iter().flat_map(|status| &status.conditions);
        !conditions.flat_map(|condition| &condition.message).any(|message| message.contains("Istio"))
    })
    .await
    .map(drop)
}

/// An annotation puts the path of the challenge into the Ingress. Without it, while the challenge waits, the challenge gets an Ingress of its
/// own, also where the next request adopts the Order before the garbage collector deletes it.
#[tokio::test]
async fn edited_ingress_is_left_with_the_annotation() -> Result<()> {
    try_join_all((0..3).map(|number| leave_edited_ingress(format!("f-edit-ends-{number}")))).await.map(drop)
}

async fn leave_edited_ingress(namespace: String) -> Result<()> {
    const EDIT: &str = "acme.cert-manager.io/http01-edit-in-place";
    // No controller serves it, so challenges wait.
    let solver = json!({ "http01": { "ingress": { "ingressClassName": namespace } } });
    let user = user(&namespace, json!({ "solvers": [solver] })).await?;
    apply_ingress(&user, json!({ "cert-manager.io/issuer": null })).await?;
    set_class(&user, &user.namespace).await?;
    annotate(&user, json!({ "cert-manager.io/issuer": "pebble", EDIT: "true" })).await?;
    await_paths(&user, 1).await?;
    await_told(&user, WAIT_REPORTED, "Waiting for HTTP-01 challenge propagation").await?;
    annotate(&user, json!({ EDIT: null })).await?;
    await_paths(&user, 0).await?;
    let own = async || Ok(!user.names_of_challenges::<Ingress>().await?.is_empty());
    harness::eventually("the challenge to have an Ingress of its own", harness::TIMEOUT, own).await?;
    apply_issuer(&user, json!({})).await?;
    await_healed(&user, harness::TIMEOUT).await?;
    await_paths(&user, 0).await
}

/// A solver with a class that does not exist, and one with another class than the user's Ingress.
#[tokio::test]
async fn wrong_class_of_the_solver_is_mentioned() -> Result<()> {
    let user = user("f-wrong-class", json!({})).await?;
    apply_class(&user, "example.test/no-controller").await?;
    let solver =
        |class: &str| json!({ "solvers": [{ "http01": { "ingress": { "ingressClassName": class } } }] });
    apply_issuer(&user, solver("ngnix")).await?;
    apply_ingress(&user, json!({})).await?;
    await_told(&user, WAIT_REPORTED, "there is no IngressClass \"ngnix\", which the issuer's solver names")
        .await?;
    apply_issuer(&user, solver(&user.namespace)).await?;
    let other = format!(
        "the issuer's solver has the ingress class {:?}, and the Ingress \"web\" has",
        user.namespace
    );
    await_told(&user, WAIT_REPORTED, &other).await?;
    apply_issuer(&user, json!({})).await?;
    await_healed(&user, HEALED).await.map(drop)
}
