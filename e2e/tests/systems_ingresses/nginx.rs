//! What only ingress-nginx does: annotations that redirect and protect, and an admission webhook.
//! Next: `testbed/src/ingress/nginx.rs`.

use std::slice;

use anyhow::{Context, Result, ensure};
use e2e::{
    harness,
    matrix::Times,
    scenarios,
    user::{User, issuer_annotation},
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::DeleteParams;
use serde_json::json;
use testbed::{http::Trust, page, pebble::Pebble};
use tokio::time::Instant;

use crate::served::{ISSUER, Served, status_of};

/// The namespace of an application.
const APPLICATION: &str = "application";

/// The application redirects, asks for a password, or denies addresses, and does so after the issuance. The challenge is answered.
pub(crate) async fn is_issued_beside_protections(served: &Served<'_>) -> Result<Times> {
    harness::create_namespace(&served.user.client, APPLICATION).await?;
    let user = User::new(served.user.cluster, APPLICATION).await?;
    page::serve_page(user.cluster, APPLICATION, "web", &user.host("page")).await?;
    let url = format!("http://{}/hostname", user.host("page"));
    page::await_page(user.cluster, &url, &Trust::Nothing, harness::TIMEOUT).await?;
    let users = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "users" },
        "stringData": { "auth": "user:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=" },
    });
    user.cluster.apply_in(Some(APPLICATION), &users.to_string()).await?;
    let annotation = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    for (name, protection, scheme, answer) in [
        ("redirected", &[("ssl-redirect", "true"), ("force-ssl-redirect", "true")][..], "http", 308),
        ("authenticated", &[("auth-type", "basic"), ("auth-secret", "users")], "https", 401),
        ("restricted", &[("whitelist-source-range", "192.0.2.0/24")], "https", 403),
    ] {
        let mut annotations = issuer_annotation(ISSUER);
        for (key, value) in protection {
            annotations[annotation(key)] = (*value).into();
        }
        let host = user.host(name);
        let began = Instant::now();
        user.apply_ingress(name, slice::from_ref(&host), annotations).await?;
        user.await_issued(name, harness::TIMEOUT).await.with_context(|| name.to_owned())?;
        let issued = began.elapsed();
        user.await_served(&host, &served.root, harness::TIMEOUT).await?;
        let status = status_of(&user, &format!("{scheme}://{host}/hostname"), &served.root).await;
        println!("{name}: issued after {issued:.1?}, the application answers {status:?}");
        ensure!(status == Some(answer), "{name}: the application answers {status:?}, not {answer}");
    }
    // In place, the path of the challenge has the denied addresses of the application.
    let name = "closed";
    let mut annotations = issuer_annotation(ISSUER);
    annotations["acme.cert-manager.io/http01-edit-in-place"] = "true".into();
    annotations[annotation("whitelist-source-range")] = "192.0.2.0/24".into();
    user.apply_ingress(name, &[user.host(name)], annotations).await?;
    user.await_ready_message(name, "403").await?;
    user.api::<Ingress>().delete(name, &DeleteParams::default()).await?;
    Ok(Times::default())
}

/// The solver of the issuer asks for an Ingress that the webhook does not let through, and the Certificate says so.
pub(crate) async fn explains_what_the_webhook_rejects(served: &Served<'_>) -> Result<Times> {
    let name = "rejected";
    let forbidden = json!({ "nginx.ingress.kubernetes.io/configuration-snippet": "return 200;" });
    let solver = json!({ "http01": { "ingress": {
        "ingressClassName": served.user.cluster.ingress_class(),
        "ingressTemplate": { "metadata": { "annotations": forbidden } },
    } } });
    let pebble = Pebble::of_cluster(served.user.cluster)?;
    served.user.create_cluster_issuer(name, &pebble, json!({ "solvers": [solver] })).await?;
    served.apply(name, issuer_annotation(name)).await?;
    let began = Instant::now();
    served.user.await_ready_message(name, "Snippet directives are disabled").await?;
    println!("rejected solver Ingress: reported {:.1?} after the annotation", began.elapsed());
    served.user.api::<Ingress>().delete(name, &DeleteParams::default()).await?;
    scenarios::await_no_leftovers(&served.user).await?;
    Ok(Times::default())
}
