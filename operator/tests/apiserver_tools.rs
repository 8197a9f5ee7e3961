//! What cert-manager's users run besides it works with the operator: `cmctl` and approver-policy, the real programs.
//!
//! Knows what they print; must not know controllers. Next: `e2e/testbed/tools` for their versions.

use std::{path::Path, process::Output, sync::OnceLock};

use anyhow::{Context, Result, ensure};
use crds::{
    certmanager::{Certificate, CertificateRequest},
    condition::{self, HasConditions},
};
use e2e::{
    harness,
    operator::{self, Processes},
    user::{User, issuer_annotation},
};
use kube::ResourceExt;
use serde_json::json;
use testbed::{
    cluster::{Bound, Cluster, Layout, Process},
    pebble::Pebble,
    service_account,
    tools::{Tool, Tools},
};
use tokio::process::Command;

/// The operator without automatic approval.
const FLAGS: [&str; 3] = ["--logging-format=text", "--v=4", "--controllers=*,-certificaterequests-approver"];

struct SharedCluster {
    cluster: Cluster,
    _processes: Processes,
}

fn shared_cluster() -> Result<&'static SharedCluster> {
    static SHARED: OnceLock<Result<SharedCluster, String>> = OnceLock::new();
    harness::start_once(&SHARED, async || {
        let cluster = harness::start_control_plane("tools").await?;
        let binaries =
            Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("the binary has no folder")?;
        let processes = Processes::start(&cluster, binaries, &FLAGS).await?;
        Ok(SharedCluster { cluster, _processes: processes })
    })
}

/// A user with a ClusterIssuer of the same name, and an Ingress `web` that asks for a certificate.
async fn user_with_ingress(name: &str, host: &str) -> Result<User<'static>> {
    let cluster = &shared_cluster()?.cluster;
    harness::create_namespace(&cluster.client().await?, name).await?;
    let user = User::new(cluster, name).await?;
    user.create_cluster_issuer(name, &Pebble::of_cluster(cluster)?, json!({})).await?;
    user.apply_ingress("web", &[user.host(host)], issuer_annotation(name)).await?;
    Ok(user)
}

/// What `cmctl` prints. It may fail.
async fn run_cmctl(user: &User<'_>, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(user.cluster.tools().path(Tool::Cmctl));
    command.arg("--kubeconfig").arg(user.cluster.kubeconfig()).args(["--namespace", &user.namespace]);
    Ok(command.args(arguments).kill_on_drop(true).output().await?)
}

/// What `cmctl` prints, if it succeeds.
async fn cmctl(user: &User<'_>, arguments: &[&str]) -> Result<String> {
    let output = run_cmctl(user, arguments).await?;
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    ensure!(output.status.success(), "cmctl {arguments:?} failed: {text}");
    println!("$ cmctl {}\n{text}", arguments.join(" "));
    Ok(text)
}

fn ensure_contains(text: &str, all: &[&str]) -> Result<()> {
    let missing = all.iter().find(|expected| !text.contains(**expected));
    ensure!(missing.is_none(), "{missing:?} is missing in {text}");
    Ok(())
}

async fn await_request(user: &User<'_>, name: &str) -> Result<()> {
    let exists = |request: Option<&CertificateRequest>| request.is_some();
    harness::await_condition(user.api(), name, "exist", harness::TIMEOUT, exists).await.map(drop)
}

/// From the check in an install script to a renewal by hand.
#[tokio::test]
async fn cmctl_works() -> Result<()> {
    let user = user_with_ingress("cmctl", "web").await?;
    ensure_contains(
        &cmctl(&user, &["check", "api", "--wait=1m"]).await?,
        &["The cert-manager API is ready"],
    )?;
    ensure_contains(&cmctl(&user, &["version", "--output=json"]).await?, &["\"detected\": \"0.1.0\""])?;
    await_request(&user, "web-1").await?;
    cmctl(&user, &["approve", "web-1", "--reason=Reviewed", "--message=by hand"]).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    let status = cmctl(&user, &["status", "certificate", "web"]).await?;
    ensure_contains(&status, &["Ready: True", "Issuing", "cert-manager-certificates-issuing", "DNS Names:"])?;
    ensure!(!status.contains("<unknown>"), "an age is unknown: {status}");
    ensure_contains(&cmctl(&user, &["inspect", "secret", "web"]).await?, &[&user.host("web"), "Pebble"])?;
    cmctl(&user, &["renew", "web"]).await?;
    await_request(&user, "web-2").await?;
    cmctl(&user, &["deny", "web-2", "--reason=Reviewed", "--message=not today"]).await?;
    let denied = user.await_certificate("web", "report the denial", harness::TIMEOUT, |it| {
        let issuing = condition::find(it.conditions(), condition::ISSUING);
        issuing.is_some_and(|it| it.message.as_deref().is_some_and(|message| message.contains("not today")))
    });
    denied.await?;
    let again = run_cmctl(&user, &["approve", "web-2"]).await?;
    ensure!(!again.status.success(), "a denied request was approved");
    Ok(())
}

/// Starts approver-policy with the rights of an administrator.
async fn start_approver_policy(cluster: &Cluster) -> Result<Bound> {
    cluster.apply(&cluster.tools().approver_policy_definition().await?).await?;
    let account = json!({ "kind": "ServiceAccount", "name": "approver-policy", "namespace": operator::NAME });
    let account = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": "approver-policy", "namespace": operator::NAME },
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "approver-policy" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [account],
        },
    ]});
    cluster.apply(&account.to_string()).await?;
    let kubeconfig = service_account::write_kubeconfig(cluster, operator::NAME, "approver-policy").await?;
    let webhook = cluster.reserve_port()?;
    let ready = cluster.reserve_port()?;
    let program = Tools::seen_at(Layout::cache_inside()).path(Tool::ApproverPolicy);
    let arguments = [
        format!("--kubeconfig={}", kubeconfig.display()),
        "--metrics-bind-address=0".to_owned(),
        format!("--readiness-probe-bind-address=:{ready}"),
        format!("--webhook-port={webhook}"),
        "--webhook-service-name=approver-policy".to_owned(),
        format!("--webhook-ca-secret-namespace={}", operator::NAME),
        "--webhook-ca-secret-name=approver-policy-tls".to_owned(),
        format!("--leader-election-namespace={}", operator::NAME),
    ];
    cluster.start_bound(Process::new("approver-policy", program, arguments))
}

/// approver-policy decides by the user who requests, which is the operator, and by the names.
#[tokio::test]
async fn approver_policy_approves_and_denies() -> Result<()> {
    let cluster = &shared_cluster()?.cluster;
    let _approver = start_approver_policy(cluster).await?;
    let account = json!({ "kind": "ServiceAccount", "name": operator::NAME, "namespace": operator::NAME });
    let policy = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "policy.cert-manager.io/v1alpha1",
            "kind": "CertificateRequestPolicy",
            "metadata": { "name": "allowed-names" },
            "spec": {
                "allowed": { "dnsNames": { "values": ["allowed.*"] }, "usages": ["digital signature", "key encipherment"] },
                "selector": { "issuerRef": { "kind": "ClusterIssuer", "name": "policy-*" } },
            },
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "use-allowed-names" },
            "rules": [{
                "apiGroups": ["policy.cert-manager.io"], "resources": ["certificaterequestpolicies"], "verbs": ["use"],
                "resourceNames": ["allowed-names"],
            }],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "use-allowed-names" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "use-allowed-names" },
            "subjects": [account],
        },
    ]});
    cluster.apply(&policy.to_string()).await?;
    let allowed = user_with_ingress("policy-allows", "allowed").await?;
    let issued: Certificate = allowed.await_issued("web", harness::TIMEOUT).await?;
    println!("{} is issued", issued.name_any());
    let denied = user_with_ingress("policy-denies", "other").await?;
    let reported = denied.await_certificate("web", "report the denial", harness::TIMEOUT, |it| {
        let issuing = condition::find(it.conditions(), condition::ISSUING);
        let message = issuing.and_then(|issuing| issuing.message.as_deref()).unwrap_or_default();
        message.contains("No policy approved this request") && message.contains("the next attempt is at")
    });
    let conditions = json!(reported.await?.conditions());
    println!("{conditions}");
    Ok(())
}
