//! What cert-manager's users run besides it works with the operator: `cmctl` and approver-policy, the real programs, and what reads
//! events.
//!
//! Knows what they print; must not know controllers. Next: `e2e/testbed/tools` for their versions.

use std::{path::Path, process::Output, sync::OnceLock, time::Duration};

use anyhow::{Context, Result, ensure};
use crds::{
    acme::Challenge,
    certmanager::{Certificate, CertificateRequest, Issuer},
    condition::{self, HasConditions},
};
use e2e::{
    harness,
    operator::{self, Processes},
    user::{User, issuer_annotation},
};
use k8s_openapi::{
    api::{
        core::v1::{Event, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::json;
use testbed::{
    cluster::{Bound, Cluster, Layout, Process},
    pebble::Pebble,
    service_account,
    tools::{Tool, Tools},
};
use tokio::process::Command;

/// The operator without automatic approval, and with the name server that Pebble uses too.
const FLAGS: [&str; 4] = [
    "--logging-format=text",
    "--v=4",
    "--controllers=*,-certificaterequests-approver",
    "--acme-http01-solver-nameservers=127.0.0.1:8053",
];

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

/// Waits for events with a reason about an object of the user's namespace. Returns them.
async fn await_events(user: &User<'_>, kind: &str, name: &str, reason: &str) -> Result<Vec<Event>> {
    let fields = format!("involvedObject.kind={kind},involvedObject.name={name},reason={reason}");
    let listed = async || {
        let events = user.api::<Event>().list(&ListParams::default().fields(&fields)).await?.items;
        Ok((!events.is_empty()).then_some(events))
    };
    poll(&format!("an event {reason} about {kind} {name}"), listed).await
}

/// cert-manager may serve it, so only an event says that this operator does not.
#[tokio::test]
async fn unsupported_issuer_gets_one_warning() -> Result<()> {
    let cluster = &shared_cluster()?.cluster;
    harness::create_namespace(&cluster.client().await?, "unsupported").await?;
    let user = User::new(cluster, "unsupported").await?;
    let mut issuer = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": { "name": "internal" },
        "spec": { "selfSigned": {} },
    });
    cluster.apply_in(Some("unsupported"), &issuer.to_string()).await?;
    await_events(&user, "Issuer", "internal", "UnsupportedType").await?;
    // It is reconciled again.
    issuer["metadata"]["labels"] = json!({ "changed": "true" });
    issuer["spec"]["selfSigned"] = json!({ "crlDistributionPoints": ["http://crl.test"] });
    cluster.apply_in(Some("unsupported"), &issuer.to_string()).await?;
    user.await_quiet().await?;
    let events = await_events(&user, "Issuer", "internal", "UnsupportedType").await?;
    let message = events[0].message.as_deref().unwrap_or_default();
    ensure!(events.len() == 1 && events[0].count == Some(1), "the events are {events:?}");
    ensure!(
        events[0].type_.as_deref() == Some("Warning") && message.contains("type selfSigned"),
        "{message}"
    );
    let stored: Issuer = user.api().get("internal").await?;
    ensure!(stored.status.is_none(), "its status is written: {:?}", stored.status);
    Ok(())
}

/// The Ingress says what to add, because there is no Certificate that could.
#[tokio::test]
async fn ingress_without_tls_gets_a_warning() -> Result<()> {
    let cluster = &shared_cluster()?.cluster;
    harness::create_namespace(&cluster.client().await?, "without-tls").await?;
    let user = User::new(cluster, "without-tls").await?;
    for (name, tls, words) in [
        ("nothing", json!([]), "Add a block with hosts and a secretName"),
        ("no-secret", json!([{ "hosts": ["web.test"] }]), "spec.tls[0] has no secretName"),
        ("no-hosts", json!([{ "secretName": "web" }]), "spec.tls[0] has no hosts"),
    ] {
        let ingress = json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "name": name, "annotations": issuer_annotation("any") },
            "spec": { "tls": tls, "defaultBackend": { "service": { "name": "web", "port": { "number": 80 } } } },
        });
        cluster.apply_in(Some("without-tls"), &ingress.to_string()).await?;
        let events = await_events(&user, "Ingress", name, "BadConfig").await?;
        let message = events[0].message.as_deref().unwrap_or_default();
        ensure!(events[0].type_.as_deref() == Some("Warning"), "{name}: {events:?}");
        ensure!(message.contains(words), "{name}: {message}");
    }
    Ok(())
}

/// The name servers of the cluster don't know the name, so without the flag, it would be left to the CA after two minutes.
#[tokio::test]
async fn self_check_asks_the_given_name_server() -> Result<()> {
    let cluster = &shared_cluster()?.cluster;
    harness::create_namespace(&cluster.client().await?, "name-server").await?;
    let user = User::new(cluster, "name-server").await?;
    user.create_cluster_issuer("name-server", &Pebble::of_cluster(cluster)?, json!({})).await?;
    let hosts = ["web.elsewhere.example".to_owned()];
    user.apply_ingress("web", &hosts, issuer_annotation("name-server")).await?;
    await_request(&user, "web-1").await?;
    cmctl(&user, &["approve", "web-1"]).await?;
    user.await_issued("web", harness::TIMEOUT).await.map(drop)
}

/// Knative's controller lists Services by the label of a name, and takes the name of the Challenge from the first owner and the port
/// from the first port.
#[tokio::test]
async fn knative_finds_the_service_of_a_challenge() -> Result<()> {
    let cluster = &shared_cluster()?.cluster;
    harness::create_namespace(&cluster.client().await?, "knative").await?;
    let user = User::new(cluster, "knative").await?;
    // Nothing serves this class, so the Challenge stays.
    let solvers = json!([{ "http01": { "ingress": { "ingressClassName": "none" } } }]);
    let issuer = json!({ "solvers": solvers });
    user.create_cluster_issuer("knative", &Pebble::of_cluster(cluster)?, issuer).await?;
    let certificate = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": { "name": "web", "ownerReferences": [{
            "apiVersion": "networking.internal.knative.dev/v1alpha1",
            "kind": "Certificate",
            "name": "web",
            "uid": "5f0e6b8e-2f6c-4f0c-9c1e-0c7b6a1d2e3f",
            "controller": true,
            "blockOwnerDeletion": true,
        }] },
        "spec": {
            "dnsNames": ["web.knative.example.test"],
            "secretName": "web",
            "issuerRef": { "name": "knative", "kind": "ClusterIssuer" },
        },
    });
    cluster.apply_in(Some("knative"), &certificate.to_string()).await?;
    await_request(&user, "web-1").await?;
    cmctl(&user, &["approve", "web-1"]).await?;

    // Adler-32 of the name.
    let labeled = ListParams::default().labels("acme.cert-manager.io/http-domain=1954220391");
    let found = async || Ok::<_, kube::Error>(user.api::<Service>().list(&labeled).await?.items.pop());
    let service = poll("a Service with the label of the name", found).await?;
    let owner = service.owner_references().first().context("the Service has no owner")?;
    user.api::<Challenge>().get(&owner.name).await.context("the owner is not the Challenge")?;
    let port = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()?.first()?.target_port.clone());
    ensure!(port == Some(IntOrString::Int(8089)), "the port is {port:?}");
    let slices = ListParams::default().labels(&format!("kubernetes.io/service-name={}", service.name_any()));
    let reachable = async || {
        let slices = user.api::<EndpointSlice>().list(&slices).await?.items;
        Ok::<_, kube::Error>(slices.into_iter().find(|slice| !slice.endpoints.is_empty()))
    };
    poll("endpoints of the Service", reachable).await?;

    user.api::<Certificate>().delete("web", &DeleteParams::default()).await?;
    let gone = async || Ok(found().await?.is_none().then_some(()));
    poll("the end of the Service", gone).await
}

/// Asks until there is an answer.
async fn poll<T>(what: &str, ask: impl AsyncFn() -> Result<Option<T>, kube::Error>) -> Result<T> {
    let deadline = tokio::time::Instant::now() + harness::TIMEOUT;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        ensure!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
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
