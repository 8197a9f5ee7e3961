//! Who requests certificates, and who approves: with the operator's own role, beside other controllers.

use std::time::Duration;

use anyhow::{Result, ensure};
use crds::{
    certmanager::CertificateRequest,
    condition::{self, HasConditions},
    fixtures,
};
use e2e::{harness, operator, user::issuer_annotation};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::{Api, api::PostParams};
use serde_json::json;
use testbed::audit::AuditMark;
use tokio::time::{Instant, sleep};

use super::{ensure_nothing_rejected, shared_cluster, user};

/// A request to the issuer of another controller is approved if the role allows it, also if that is granted later.
#[tokio::test]
async fn requests_to_other_controllers_are_approved_by_role() -> Result<()> {
    let shared = shared_cluster()?;
    let processes = shared.processes.lock().await;
    processes.await_operator(&shared.cluster).await?;
    let mark = AuditMark::now(&shared.cluster)?;
    let user = user("others").await?;
    for name in ["granted", "other"] {
        let request = fixtures::certificate_request(name, |it| {
            it.spec.issuer_ref.group = Some("example.org".to_owned());
            it.spec.issuer_ref.kind = Some("FooIssuer".to_owned());
            name.clone_into(&mut it.spec.issuer_ref.name);
        });
        user.api::<CertificateRequest>().create(&PostParams::default(), &request).await?;
    }
    let role: ClusterRole = serde_json::from_value(json!({
        "metadata": { "name": "approve-granted" },
        "rules": [{
            "apiGroups": ["cert-manager.io"], "resources": ["signers"], "verbs": ["approve"],
            "resourceNames": ["fooissuers.example.org/others.granted"],
        }],
    }))?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": "approve-granted" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "approve-granted" },
        "subjects": [{ "kind": "ServiceAccount", "name": operator::NAME, "namespace": operator::NAME }],
    }))?;
    let client = shared.cluster.client().await?;
    Api::all(client.clone()).create(&PostParams::default(), &role).await?;
    Api::all(client).create(&PostParams::default(), &binding).await?;
    let is_approved = |it: Option<&CertificateRequest>| {
        it.is_some_and(|it| condition::is_true(it.conditions(), condition::APPROVED))
    };
    harness::await_condition(user.api(), "granted", "be approved", Duration::from_mins(2), is_approved)
        .await?;
    let other = user.api::<CertificateRequest>().get("other").await?;
    ensure!(other.status.is_none_or(|status| status.conditions.is_empty()), "the other one has conditions");
    ensure_nothing_rejected(&mark)
}

/// Before Kubernetes 1.36, the API server does not record who requests a certificate. Approvers then need the operator to name itself.
#[tokio::test]
async fn requests_name_the_operator_as_requester() -> Result<()> {
    let shared = shared_cluster()?;
    let _processes = shared.processes.lock().await;
    let user = user("stamped").await?;
    let binding = ["delete", "mutatingadmissionpolicybinding", "acme-operator-stamp"];
    let deleted = shared.cluster.kubectl().args(binding).output().await?;
    ensure!(deleted.status.success(), "the binding can't be deleted: {deleted:?}");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let anonymous = fixtures::certificate_request("probe", |_| {});
    let deadline = Instant::now() + harness::TIMEOUT;
    while user.api::<CertificateRequest>().create(&dry_run, &anonymous).await?.spec.username.is_some() {
        ensure!(Instant::now() < deadline, "the API server still records the requester");
        sleep(Duration::from_millis(100)).await;
    }
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("stamped")).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    let request = user.api::<CertificateRequest>().get("web-1").await?.spec;
    ensure!(request.username.as_deref() == Some(operator::USER), "it is {:?}", request.username);
    let is_ours = |group: &String| group == "system:serviceaccounts:acme-operator";
    ensure!(request.groups.iter().flatten().any(is_ours), "the groups are {:?}", request.groups);
    ensure!(request.uid.is_some_and(|uid| !uid.is_empty()), "there is no UID");
    Ok(())
}
