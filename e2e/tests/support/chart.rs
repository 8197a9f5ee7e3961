//! The chart as Helm renders it.

use std::path::Path;

use anyhow::Result;
use e2e::{harness, operator};
use serde_json::Value;
use testbed::helm::helm;

/// The flags that set some values.
pub(crate) fn set(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| format!("--set={value}")).collect()
}

/// Renders the chart, with flags of `helm template`. Returns its objects.
pub(crate) async fn render(flags: &[String]) -> Result<Vec<Value>> {
    render_chart(&operator::chart(), flags).await
}

/// Renders a chart, with flags of `helm template`. Returns its objects.
pub(crate) async fn render_chart(chart: &Path, flags: &[String]) -> Result<Vec<Value>> {
    render_release(operator::NAME, chart, flags).await
}

/// Renders a chart as a release, in a namespace of the same name, with flags of `helm template`. Returns its objects.
pub(crate) async fn render_release(release: &str, chart: &Path, flags: &[String]) -> Result<Vec<Value>> {
    let chart = chart.to_string_lossy();
    let namespace = format!("--namespace={release}");
    let mut arguments = vec!["template", release, &chart, &namespace, "--kube-version=1.36"];
    arguments.extend(flags.iter().map(String::as_str));
    let text = helm(harness::cluster()?, &arguments).await?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    Ok(objects.into_iter().filter(|object| object["kind"].is_string()).collect())
}

/// The only object of a kind with a name.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|it| it["kind"] == kind && it["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name:?}"))
}

/// What the chart says after an installation.
pub(crate) async fn notes(flags: &[String]) -> Result<String> {
    let chart = operator::chart();
    let chart = chart.to_string_lossy();
    let mut arguments =
        vec!["install", "acme-operator", &chart, "--namespace=acme-operator", "--dry-run=client"];
    arguments.extend(flags.iter().map(String::as_str));
    let printed = helm(harness::cluster()?, &arguments).await?;
    Ok(printed.split_once("NOTES:").map(|(_, notes)| notes.trim().to_owned()).unwrap_or_default())
}
