//! The chart as Helm renders it: sound, the same each time, and with no more rights than are said here.

use anyhow::{Result, ensure};
use e2e::{harness, operator};
use serde_json::Value;
use testbed::helm::helm;

/// Renders the chart with values.
async fn rendered(values: &[&str]) -> Result<Vec<Value>> {
    let chart = operator::chart();
    let chart = chart.to_string_lossy();
    let mut arguments =
        vec!["template", "acme-operator", &chart, "--namespace=acme-operator", "--kube-version=1.36"];
    let sets: Vec<_> = values.iter().map(|value| format!("--set={value}")).collect();
    arguments.extend(sets.iter().map(String::as_str));
    let text = helm(harness::cluster()?, &arguments).await?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    Ok(objects.into_iter().filter(|object| object["kind"].is_string()).collect())
}

/// All but what has a snapshot of its own.
fn without_definitions(objects: &[Value]) -> Vec<&Value> {
    let elsewhere = ["CustomResourceDefinition", "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"];
    objects
        .iter()
        .filter(|object| !elsewhere.contains(&object["kind"].as_str().unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn it_is_sound() -> Result<()> {
    let chart = operator::chart();
    let said = helm(harness::cluster()?, &["lint", "--strict", &chart.to_string_lossy()]).await?;
    ensure!(said.contains("0 chart(s) failed"), "{said}");
    Ok(())
}

#[tokio::test]
async fn it_renders_as_it_did() -> Result<()> {
    let objects = rendered(&[]).await?;
    let text = serde_saphyr::to_string(&without_definitions(&objects))?;
    insta::assert_snapshot!("default", text);
    let values = [
        "replicaCount=2",
        "podDisruptionBudget.enabled=true",
        "prometheus.podmonitor.enabled=true",
        "prometheus.servicemonitor.enabled=true",
        "disableAutoApproval=true",
        "enableCertificateOwnerRef=true",
        "ingressShim.defaultIssuerName=prod,ingressShim.defaultIssuerKind=ClusterIssuer",
        "config.logging.format=text",
        "global.imagePullSecrets[0].name=registry",
    ];
    let objects = rendered(&values).await?;
    let text = serde_saphyr::to_string(&without_definitions(&objects))?;
    insta::assert_snapshot!("everything", text);
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_none_is_refused() -> Result<()> {
    for value in
        ["replicas=2", "solver.replicaCount=0", "image.pullPolicy=Sometimes", "prometheus.podmonitor.on=true"]
    {
        ensure!(rendered(&[value]).await.is_err(), "{value} is taken");
    }
    Ok(())
}

#[tokio::test]
async fn definitions_are_kept_or_left_out_as_asked() -> Result<()> {
    let definitions = async |values: &[&str]| -> Result<Vec<Value>> {
        let objects = rendered(values).await?;
        Ok(objects.into_iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect())
    };
    let policy = |of: &Value| of["metadata"]["annotations"]["helm.sh/resource-policy"].clone();
    let kept = definitions(&[]).await?;
    ensure!(kept.len() == 6 && kept.iter().all(|definition| policy(definition) == "keep"));
    ensure!(definitions(&["crds.keep=false"]).await?.iter().all(|definition| policy(definition).is_null()));
    ensure!(definitions(&["crds.enabled=false"]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn nobody_gets_more_rights_than_needed() -> Result<()> {
    for object in rendered(&[]).await? {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !["ClusterRole", "Role"].contains(&kind) {
            continue;
        }
        for rule in object["rules"].as_array().into_iter().flatten() {
            let has = |field: &str, value: &str| {
                rule[field].as_array().is_some_and(|values| values.iter().any(|it| it == value))
            };
            ensure!(!has("verbs", "*") && !has("resources", "*") && !has("apiGroups", "*"), "{rule}");
            ensure!(!has("resources", "pods") && !has("resources", "pods/exec"), "{rule}");
            ensure!(!(has("resources", "secrets") && has("verbs", "update")), "{rule}");
        }
    }
    Ok(())
}
