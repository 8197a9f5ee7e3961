//! The operator beside a cert-manager that is reduced to what the operator doesn't do, CA and self-signed issuers, and beside an issuer
//! of another API group.
//!
//! Knows the flags in docs/MIGRATION.md; must not know controllers. Next: `e2e/src/cert_manager.rs`.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use crds::certmanager::CertificateRequest;
use e2e::{
    cert_manager, harness,
    operator::{self, Processes},
    user::{User, issuer_annotation, secret_value},
};
use kube::{ResourceExt, api::ListParams};
use serde_json::{Value, json};
use testbed::{
    audit::{AuditEvent, AuditMark},
    cluster::{Bound, Cluster, Layout, Process},
    pebble::Pebble,
    service_account,
    tools::{Tool, Tools},
};

const NAMESPACE: &str = "beside";

const EXTERNAL_GROUP: &str = "issuers.example.test";

/// How long nothing may be written once everything is settled.
const SETTLED: Duration = Duration::from_secs(20);

/// The flags of cert-manager that docs/MIGRATION.md gives. Both look for the keys of ACME accounts in the same namespace.
const REDUCED: [&str; 4] = [
    "--cluster-resource-namespace=acme-operator",
    "--controllers=issuers,clusterissuers,certificaterequests-issuer-ca,certificaterequests-issuer-selfsigned",
    "--leader-elect=true",
    "--leader-election-namespace=cert-manager",
];

async fn apply_issuer(cluster: &Cluster, name: &str, spec: Value) -> Result<()> {
    let issuer = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": { "name": name },
        "spec": spec,
    });
    cluster.apply_in(Some(NAMESPACE), &issuer.to_string()).await
}

/// Starts an issuer of another group, and allows the operator to approve requests to it, as such issuers' instructions say.
async fn start_external_issuer(cluster: &Cluster) -> Result<Bound> {
    let account = json!({ "kind": "ServiceAccount", "name": operator::NAME, "namespace": operator::NAME });
    let approval = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": "approve-samples" },
            "rules": [{
                "apiGroups": ["cert-manager.io"], "resources": ["signers"], "verbs": ["approve"],
                "resourceNames": [format!("sampleissuers.{EXTERNAL_GROUP}/*")],
            }],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "approve-samples" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "approve-samples" },
            "subjects": [account],
        },
    ]});
    cluster.apply(&approval.to_string()).await?;
    let program = Tools::seen_at(Layout::cache_inside()).path(Tool::CertManager);
    let arguments = ["external-issuer".to_owned(), format!("--group={EXTERNAL_GROUP}")];
    let process = Process::new("external-issuer", program, arguments);
    let kubeconfig = service_account::kubeconfig_inside(cert_manager::NAME);
    cluster.start_bound(process.env("KUBECONFIG", kubeconfig.display()))
}

/// The writes of both programs, except for Leases and events.
fn writes(mark: &AuditMark) -> Result<Vec<AuditEvent>> {
    let mut events = mark.events()?;
    events.retain(|event| {
        [operator::USER, cert_manager::USER].contains(&event.user())
            && event.is_write()
            && !["leases", "events"].contains(&&*event.resource())
    });
    Ok(events)
}

/// Each issues what it serves, a Secret has the CA of its issuer, also in truststores, requests for a missing issuer don't make them
/// write against each other, and then neither writes anything.
#[tokio::test]
async fn reduced_cert_manager_and_the_operator_share_a_cluster() -> Result<()> {
    let cluster = harness::start_control_plane("coexistence").await?;
    let binaries = Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("the binary has no folder")?;
    let _ours = Processes::start(&cluster, binaries, &operator::VERBOSE).await?;
    let _theirs = cluster.start_bound(cert_manager::prepare(&cluster, &REDUCED).await?)?;
    harness::create_namespace(&cluster.client().await?, NAMESPACE).await?;
    let user = User::new(&cluster, NAMESPACE).await?;

    apply_issuer(&cluster, "self-signed", json!({ "selfSigned": {} })).await?;
    let root = json!({
        "isCA": true,
        "commonName": "root",
        "secretName": "root",
        "issuerRef": { "name": "self-signed", "kind": "Issuer" },
    });
    user.apply_certificate("root", root).await?;
    user.await_issued("root", harness::TIMEOUT).await?;
    apply_issuer(&cluster, "ca", json!({ "ca": { "secretName": "root" } })).await?;
    let leaf = json!({ "dnsNames": [user.host("leaf")], "issuerRef": { "name": "ca", "kind": "Issuer" } });
    user.apply_certificate("leaf", leaf).await?;
    user.await_issued("leaf", harness::TIMEOUT).await?;
    let root = user.await_secret("root", harness::TIMEOUT).await?;
    let leaf = user.await_secret("leaf", harness::TIMEOUT).await?;
    ensure!(
        secret_value(Some(&leaf), "ca.crt") == secret_value(Some(&root), "tls.crt"),
        "ca.crt of the leaf is not the certificate of its issuer"
    );

    let keystores = json!({
        "jks": { "create": true, "password": "changeit" },
        "pkcs12": { "create": true, "password": "changeit", "profile": "Modern2023" },
    });
    let _external = start_external_issuer(&cluster).await?;
    let external = json!({
        "dnsNames": [user.host("external")],
        "issuerRef": { "name": "any", "kind": "SampleIssuer", "group": EXTERNAL_GROUP },
        "keystores": keystores,
    });
    user.apply_certificate("external", external).await?;
    user.await_issued("external", harness::TIMEOUT).await?;
    let external = user.await_secret("external", harness::TIMEOUT).await?;
    for key in ["ca.crt", "keystore.jks", "truststore.jks", "keystore.p12", "truststore.p12"] {
        ensure!(!secret_value(Some(&external), key).is_empty(), "the Secret has no {key}");
    }

    user.create_cluster_issuer("public", &Pebble::of_cluster(&cluster)?, json!({})).await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("public")).await?;
    user.await_issued("web", harness::TIMEOUT).await?;

    for kind in ["Issuer", "ClusterIssuer"] {
        let orphan =
            json!({ "dnsNames": [user.host("orphan")], "issuerRef": { "name": "missing", "kind": kind } });
        user.apply_certificate(&format!("orphan-{}", kind.to_lowercase()), orphan).await?;
    }
    user.await_ready_message("orphan-issuer", "Issuer").await?;
    user.await_ready_message("orphan-clusterissuer", "ClusterIssuer").await?;

    let mark = AuditMark::now(&cluster)?;
    let written = || Ok(Some(writes(&mark)?.len()));
    harness::await_quiet("both programs", harness::QUIET, harness::TIMEOUT, written).await?;
    let mark = AuditMark::now(&cluster)?;
    tokio::time::sleep(SETTLED).await;
    let written = writes(&mark)?;
    ensure!(written.is_empty(), "they still write: {written:?}");
    let requests = user.api::<CertificateRequest>().list(&ListParams::default()).await?;
    let names: Vec<_> = requests.iter().map(ResourceExt::name_any).collect();
    ensure!(names.iter().all(|name| name.ends_with("-1")), "something was requested twice: {names:?}");
    cluster.end()
}
