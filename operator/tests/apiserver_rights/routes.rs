//! Challenges that are routed in another way than at first: with the operator's own role, which may not delete Ingresses.

use anyhow::{Result, ensure};
use e2e::{
    harness, scenarios,
    user::{User, issuer_annotation},
};
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::json;
use testbed::{audit::AuditMark, pebble::Pebble};

use super::{ensure_nothing_rejected, shared_cluster};

/// The issuer names an ingress class that nothing serves, and is corrected while challenges wait. The next Challenges have the names of the
/// first, whose Ingresses may still exist.
#[tokio::test]
async fn corrected_class_needs_no_deletion_of_ingresses() -> Result<()> {
    let shared = shared_cluster()?;
    let processes = shared.processes.lock().await;
    processes.await_operator(&shared.cluster).await?;
    let mark = AuditMark::now(&shared.cluster)?;
    let (name, pebble) = ("classes", Pebble::of_cluster(&shared.cluster)?);
    harness::create_namespace(&shared.cluster.client().await?, name).await?;
    let user = User::new(&shared.cluster, name).await?;
    let wrong = json!({ "solvers": [{ "http01": { "ingress": { "ingressClassName": "nothing" } } }] });
    user.create_cluster_issuer(name, &pebble, wrong).await?;
    let hosts = ["a", "b", "c", "d", "e", "f"];
    for host in hosts {
        user.apply_ingress(host, &[user.host(host)], issuer_annotation(name)).await?;
    }
    let are_routed = async || Ok(user.names_of_challenges::<Ingress>().await?.len() == hosts.len());
    harness::eventually("each challenge to have an Ingress", harness::TIMEOUT, are_routed).await?;
    user.apply_cluster_issuer(name, &pebble, json!({})).await?;
    for host in hosts {
        user.await_issued(host, harness::TIMEOUT).await?;
    }
    scenarios::await_no_leftovers(&user).await?;
    ensure!(user.names::<Ingress>().await?.len() == hosts.len(), "Ingresses of challenges are left");
    ensure_nothing_rejected(&mark)
}
