//! Clusters that let nothing out: a NetworkPolicy denies all connections of the release's namespace, kube-router enforces policies, and
//! the chart's own policies allow what is needed. With a proxy as the only way to the ACME server, too.
//!
//! Knows the chart's values and docs/NETWORK.md; must not know the operator's code. Next: `e2e::operator`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    harness, operator,
    user::{User, issuer_annotation},
};
use serde_json::json;
use testbed::{
    cluster::{Bound, Cluster, Layout, NODE_ADDRESS, NODE_NAME, Process, SERVICE_RANGE},
    pebble::Pebble,
    tools::{Tool, Tools, host},
};
use tokio::time::{Instant, sleep};

const NAMESPACE: &str = "tenant";
const ISSUER: &str = "issuer";
const PROXY_PORT: u16 = 3128;

/// How long an issuance may take after a change of policies: the operator tries again at least once a minute.
const TIMEOUT: Duration = Duration::from_mins(3);

/// Certificates are issued with the ports that the CA and the ingress controller have. Without the CA's port, the Certificate says
/// what can't be reached, and it is issued once a proxy leads there.
#[tokio::test]
async fn certificates_are_issued_where_connections_are_denied() -> Result<()> {
    let cluster = harness::start_node("egress").await?;
    operator::load_images(&cluster).await?;
    let client = cluster.client().await?;
    harness::create_namespace(&client, NAMESPACE).await?;
    let _enforcer = enforce_policies(&cluster)?;
    let denied = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": "deny-all" },
        "spec": { "podSelector": {}, "policyTypes": ["Ingress", "Egress"] },
    });
    harness::create_namespace(&client, operator::NAME).await?;
    cluster.apply_in(Some(operator::NAME), &denied.to_string()).await?;

    let direct =
        ["networkPolicy.egress.acmePorts={80,14000}", "networkPolicy.egress.acmeExcept={169.254.0.0/16}"];
    install(&cluster, &direct).await?;
    let user = User::new(&cluster, NAMESPACE).await?;
    user.create_cluster_issuer(ISSUER, &Pebble::of_cluster(&cluster)?, json!({})).await?;
    issue(&user, "direct").await?;

    // New Pods, because policies don't end connections.
    install(&cluster, &["networkPolicy.egress.acmePorts={80}", "podAnnotations.policy=closed"]).await?;
    user.apply_ingress("proxied", &[user.host("proxied")], issuer_annotation(ISSUER)).await?;
    user.await_ready_message("proxied", "pebble.example.test").await?;

    let proxy = start_proxy(&cluster).await?;
    let through = format!("https_proxy=http://{NODE_ADDRESS}:{PROXY_PORT}");
    let ports = format!("networkPolicy.egress.acmePorts={{80,{PROXY_PORT}}}");
    install(&cluster, &[&through, &ports]).await?;
    user.await_issued("proxied", TIMEOUT).await?;
    let log = cluster.log_tail("tinyproxy", 200);
    ensure!(log.contains("CONNECT pebble.example.test:14000"), "nothing went through the proxy: {log}");
    drop(proxy);
    cluster.end()
}

async fn issue(user: &User<'_>, name: &str) -> Result<()> {
    user.apply_ingress(name, &[user.host(name)], issuer_annotation(ISSUER)).await?;
    user.await_issued(name, TIMEOUT).await.map(drop)
}

/// Installs or upgrades the chart with its policy for egress.
async fn install(cluster: &Cluster, values: &[&str]) -> Result<()> {
    let mut flags = vec!["--set=networkPolicy.egress.enabled=true".to_owned()];
    flags.extend(values.iter().map(|value| format!("--set={value}")));
    operator::install(cluster, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// Starts kube-router, which only enforces policies here.
fn enforce_policies(cluster: &Cluster) -> Result<Bound> {
    let program = Tools::seen_at(Layout::cache_inside()).path(Tool::KubeRouter);
    let arguments = [
        format!("--kubeconfig={}", Layout::inside().kubeconfig("admin").display()),
        format!("--hostname-override={NODE_NAME}"),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--run-router=false".to_owned(),
        "--run-service-proxy=false".to_owned(),
        "--enable-cni=false".to_owned(),
        "--health-port=0".to_owned(),
    ];
    cluster.start_bound(Process::new("kube-router", program, arguments))
}

/// Starts tinyproxy on the node, and waits until it listens.
async fn start_proxy(cluster: &Cluster) -> Result<Bound> {
    let configuration = format!("Port {PROXY_PORT}\nListen {NODE_ADDRESS}\nTimeout 60\nLogLevel Connect\n");
    std::fs::write(cluster.layout().path("tinyproxy.conf"), configuration)?;
    let program = host::find("tinyproxy").context("tinyproxy is not installed")?;
    let arguments = ["-d".to_owned(), "-c".to_owned(), Layout::inside().text("tinyproxy.conf")];
    let proxy = cluster.start_bound(Process::new("tinyproxy", program, arguments))?;
    let deadline = Instant::now() + harness::TIMEOUT;
    while cluster.dial(&NODE_ADDRESS.to_string(), PROXY_PORT).await.is_err() {
        ensure!(Instant::now() < deadline, "tinyproxy did not start: {}", cluster.log_tail("tinyproxy", 20));
        sleep(Duration::from_millis(100)).await;
    }
    Ok(proxy)
}
