//! Releases of the chart that are limited to namespaces, next to each other in a cluster of their own.

use anyhow::{Result, ensure};
use crds::certmanager::Certificate;
use e2e::{
    harness,
    intruder::{self, Intruder},
    operator,
    user::{User, issuer_annotation},
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use serde_json::json;
use testbed::{audit::AuditMark, cluster::Cluster, pebble::Pebble};

use crate::{MEASURING, forgery};

/// The releases, and the namespace that each serves.
const RELEASES: [(&str, &str); 2] = [(operator::NAME, "shop"), ("blog-acme-operator", "blog")];

/// A namespace that no release serves.
const OUTSIDE: &str = "outside";

/// Two releases serve a namespace each: certificates are issued there and nowhere else, ClusterIssuers are refused, no role or policy
/// rejects a request, and a token is of no use for what belongs to others.
#[tokio::test]
async fn namespaced_releases_stay_in_their_namespaces() -> Result<()> {
    let _not_measuring = MEASURING.read().await;
    let cluster = harness::start_node("releases").await?;
    operator::load_images(&cluster).await?;
    for (_, namespace) in RELEASES.iter().chain(&[("", OUTSIDE)]) {
        harness::create_namespace(&cluster.client().await?, namespace).await?;
    }
    let mark = AuditMark::now(&cluster)?;
    for (release, namespace) in RELEASES {
        let is_first = release == operator::NAME;
        let values = format!("--set=namespaces={{{namespace}}},crds.enabled={is_first}");
        operator::install_release(&cluster, release, &[&values]).await?;
    }
    let outside = annotate(&cluster, OUTSIDE).await?;
    let root = Pebble::of_cluster(&cluster)?.issuing_root(0).await?;
    for (_, namespace) in RELEASES {
        let user = annotate(&cluster, namespace).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        user.await_served(&user.host("web"), &root, harness::TIMEOUT).await?;
        user.apply_ingress("cluster", &[user.host("cluster")], issuer_annotation("prod")).await?;
        let refused =
            "the ClusterIssuer \"prod\" can't be used, because the operator is limited to namespaces";
        user.await_ready_message("cluster", refused).await?;
    }
    for (release, namespace) in RELEASES {
        operator::await_quiet(&cluster, |event| event.namespace() == Some(namespace)).await?;
        let rejected = operator::rejected(&mark, release)?;
        ensure!(rejected.is_empty(), "the API server rejected {rejected:?}");
        let accounts = format!("system:serviceaccount:{release}:");
        let mut elsewhere = mark.events()?;
        elsewhere.retain(|event| {
            event.user().starts_with(&accounts)
                && event.namespace().is_some_and(|it| ![release, namespace].contains(&it))
        });
        ensure!(elsewhere.is_empty(), "{release} is not limited to {namespace}: {elsewhere:?}");
    }
    ensure!(outside.names::<Certificate>().await?.is_empty(), "another namespace is served");

    for ((release, namespace), (_, other)) in RELEASES.iter().zip(RELEASES.iter().rev()) {
        forgery::ensure_rejected(&User::new(&cluster, namespace).await?, release, "web").await?;
        for elsewhere in [other, OUTSIDE] {
            let intruder = Intruder::new(&cluster, release, elsewhere).await?;
            let read = intruder.api::<Secret>().list(&ListParams::default()).await;
            intruder::ensure_rejected(read, "cannot list resource \"secrets\"")?;
        }
    }
    cluster.end()
}

/// A user of a namespace with an Issuer, and an Ingress that is annotated with it.
async fn annotate<'a>(cluster: &'a Cluster, namespace: &str) -> Result<User<'a>> {
    let user = User::new(cluster, namespace).await?;
    user.apply_issuer("pebble", &Pebble::of_cluster(cluster)?, json!({})).await?;
    user.apply_ingress("web", &[user.host("web")], json!({ "cert-manager.io/issuer": "pebble" })).await?;
    Ok(user)
}
