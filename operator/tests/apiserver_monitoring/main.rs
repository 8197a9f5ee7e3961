//! The alerts and the dashboard of the chart, as Prometheus evaluates them: `promtool` answers each query from two scrapes of a real
//! operator, and fires each alert.
//!
//! Knows the rendered chart and what `/metrics` says; must not know controllers. Next: `promtool.rs` for the evaluation.

mod promtool;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use crds::certmanager::Certificate;
use e2e::{
    harness,
    operator::{self, Processes},
    user::{User, issuer_annotation},
};
use serde_json::{Value, json};
use testbed::{
    cluster::{Cluster, NODE_ADDRESS},
    helm::helm,
    http::{self, Trust},
    pebble::Pebble,
};

use crate::promtool::{Expected, Promtool};

/// Metrics without a series in the scrapes, and why. A unit test checks that they exist.
const WITHOUT_SERIES: [(&str, &str); 1] = [(
    "certmanager_controller_sync_error_count",
    "a controller has a series once one of its reconciles has failed",
)];

/// What the chart renders with values.
async fn render(cluster: &Cluster, values: &[&str]) -> Result<Vec<Value>> {
    let chart = operator::chart();
    let chart = chart.to_string_lossy();
    let values = values.join(",");
    let arguments = ["template", operator::NAME, &chart, "--kube-version=1.36", "--set", &values];
    Ok(serde_saphyr::from_multiple(&helm(cluster, &arguments).await?)?)
}

fn find<'a>(objects: &'a [Value], kind: &str) -> Result<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind).with_context(|| format!("no {kind} is rendered"))
}

/// The queries of a dashboard, each with the title of its panel.
fn queries(dashboard: &Value) -> Result<Vec<(String, String)>> {
    let dashboard = dashboard["data"]["acme-operator.json"].as_str().context("no dashboard")?;
    let dashboard: Value = serde_json::from_str(dashboard)?;
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().context("a panel has no title")?;
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().with_context(|| format!("{title:?} has no query"))?;
            queries.push((title.to_owned(), query.to_owned()));
        }
    }
    Ok(queries)
}

/// The alerts of a PrometheusRule, each with its expression.
fn alerts(rule: &Value) -> Vec<(String, String)> {
    let groups = rule["spec"]["groups"].as_array().into_iter().flatten();
    let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rules.map(|rule| (text(&rule["alert"]), text(&rule["expr"]))).collect()
}

async fn scrape(cluster: &Cluster) -> Result<String> {
    let url = format!("http://{NODE_ADDRESS}:{}/metrics", operator::METRICS_PORT);
    let text = http::get(&cluster.network(), &url, &Trust::Nothing).await?.into_body();
    Ok(String::from_utf8(text.to_vec())?)
}

/// A cluster with an operator that has issued a certificate, waits for a name that does not resolve, and has issuers that can't work.
async fn busy_operator() -> Result<(Cluster, Processes)> {
    let cluster = harness::start_control_plane("monitoring").await?;
    let binaries = Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("the binary has no folder")?;
    let processes = Processes::start(&cluster, binaries, &operator::VERBOSE).await?;
    let user = User::new(&cluster, "default").await?;
    let pebble = Pebble::of_cluster(&cluster)?;
    user.apply_issuer("broken", &pebble, json!({ "server": "https://unknown.invalid/dir" })).await?;
    let unsupported = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": { "name": "ca" },
        "spec": { "ca": { "secretName": "ca" } },
    });
    cluster.apply_in(Some("default"), &unsupported.to_string()).await?;
    user.create_cluster_issuer("monitoring", &pebble, json!({})).await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("monitoring")).await?;
    let waiting = ["web.unknown.invalid".to_owned()];
    user.apply_ingress("waiting", &waiting, issuer_annotation("monitoring")).await?;
    let _: Certificate = user.await_issued("web", harness::TIMEOUT).await?;
    user.await_ready_message("waiting", "web.unknown.invalid").await?;
    Ok((cluster, processes))
}

/// Every query of the dashboard has an answer, and exactly the alerts fire that a busy operator must cause. The metrics and labels that
/// the other ones name exist, so they can fire.
#[tokio::test]
async fn scrape_answers_dashboard_and_alerts() -> Result<()> {
    let (cluster, _processes) = busy_operator().await?;
    let first = scrape(&cluster).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = scrape(&cluster).await?;
    let values = [
        "prometheus.rules.enabled=true",
        "prometheus.dashboard.enabled=true",
        "prometheus.podmonitor.enabled=true",
    ];
    let objects = render(&cluster, &values).await?;
    let monitor = find(&objects, "PodMonitor")?;
    let job = &monitor["spec"]["podMetricsEndpoints"][0]["relabelings"][0];
    ensure!(job["targetLabel"] == "job", "the monitor sets no job: {monitor}");
    let job = job["replacement"].as_str().context("the monitor sets no job")?;

    let mut promtool = Promtool::new(&cluster, job);
    promtool.scraped(&first, &second);
    let queries = queries(find(&objects, "ConfigMap")?)?;
    ensure!(queries.len() > 10, "only {} queries", queries.len());
    for (title, query) in &queries {
        match WITHOUT_SERIES.iter().find(|(metric, _)| query.contains(metric)) {
            Some((metric, why)) => println!("{title}: {metric} is not evaluated, because {why}"),
            None => promtool.expect(title, query, Expected::Result),
        }
    }
    let firing =
        ["IssuerNotReady", "IssuerNotSupported", "CertificateNotReady", "CertificateNotReadyForLong"];
    let alerts = alerts(find(&objects, "PrometheusRule")?);
    ensure!(alerts.len() > 10, "only {} alerts", alerts.len());
    for (alert, expression) in &alerts {
        let expected = if firing.contains(&alert.as_str()) { Expected::Result } else { Expected::Nothing };
        promtool.expect(alert, expression, expected);
        promtool.expect_series_of(alert, expression);
    }
    promtool.evaluate().await
}

/// Each alert fires when it must, also if the operator restarts meanwhile. Those of a chart without metrics of each Certificate do, too.
#[tokio::test]
async fn alerts_fire_when_they_must() -> Result<()> {
    let cluster = harness::cluster()?;
    for (values, cases) in [
        (&["prometheus.rules.enabled=true"][..], include_str!("alerts.yaml")),
        (
            &["prometheus.rules.enabled=true", "prometheus.certificateMetrics=false"],
            include_str!("counts.yaml"),
        ),
    ] {
        let objects = render(cluster, values).await?;
        let rule = find(&objects, "PrometheusRule")?;
        promtool::check_rules(cluster, &rule["spec"], cases).await?;
        let general = alerts(rule).into_iter().filter(|(_, expression)| expression.contains("certificate"));
        for (alert, _) in general.filter(|(alert, _)| alert.starts_with("Certificate")) {
            ensure!(cases.contains(&format!("name: {alert}\n")), "no case for the alert {alert}");
        }
    }
    Ok(())
}
