//! Values files of cert-manager's chart, as users have them: they render, act where they can, and what has no effect is said.
//!
//! Reads the chart of the cert-manager that is built, and files of the shapes that users publish (`data/values`). Next:
//! `apiserver_chart.rs` for this chart's own values.

mod support;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    harness::{self, with_namespace},
    operator,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Map, Value, json};
use support::chart::{find, notes, render, render_chart, set};

/// The values that stop the installation, with a value that does and what the message says.
const REJECTED: [(&str, &str); 8] = [
    (
        "image.repository=quay.io/jetstack/cert-manager-controller",
        "an image of cert-manager, which is another program",
    ),
    ("image.repository=mirror.example/cert-manager-controller-arm64", "an image of cert-manager"),
    ("image.registry=mirror.example", "image.repository does not name the operator's image there"),
    (
        "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "it would be the digest of an image of cert-manager",
    ),
    ("image.tag=v1.17.1", "a version of cert-manager, which this chart's image does not have"),
    ("config.metricsTLSConfig.dynamic.secretName=ca", "metrics are served without TLS only"),
    ("extraArgs={--metrics-tls-cert-file=/tls.crt}", "metrics are served without TLS only"),
    ("prometheus.podmonitor.enabled=true,prometheus.servicemonitor.enabled=true", "enable one of them"),
];

/// The folder of cert-manager's chart.
async fn upstream() -> Result<PathBuf> {
    let source = harness::cluster()?.tools().cert_manager_source().await?;
    Ok(source.join("deploy/charts/cert-manager"))
}

/// The flag for a values file.
fn file(path: &Path) -> String {
    format!("--values={}", path.display())
}

/// The files of the shapes that users publish, by name.
fn shapes() -> Result<Vec<(String, PathBuf)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/values");
    let mut files: Vec<_> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())))
        .collect::<Result<_, _>>()?;
    files.sort();
    ensure!(files.len() >= 12, "the files are missing");
    Ok(files)
}

/// A value for a leaf of the schema of cert-manager's values: one that asks for something.
fn sample(path: &str, schema: &Value) -> Value {
    match path {
        "image.repository" => return json!("registry.example.com/operator"),
        "podDisruptionBudget.minAvailable" => return Value::Null,
        "podDisruptionBudget.maxUnavailable" => return json!("50%"),
        "prometheus.servicemonitor.enabled" => return json!(false),
        "extraObjects" => return json!(["apiVersion: v1\nkind: ConfigMap\nmetadata: { name: extra }"]),
        "livenessProbe" => return json!({ "enabled": true, "timeoutSeconds": 3 }),
        _ => {}
    }
    let text =
        if path.ends_with(".digest") { format!("sha256:{}", "0".repeat(64)) } else { "value".to_owned() };
    match schema["type"].as_str() {
        Some("boolean") => json!(true),
        Some("number" | "integer") => json!(3),
        Some("string") => match &schema["default"] {
            Value::String(default) if !default.is_empty() => json!(default),
            _ => json!(text),
        },
        Some("array") => schema["default"].as_array().map_or_else(|| json!([]), |it| json!(it)),
        // Labels and annotations of one object must differ.
        _ => json!({ path.replace('.', "-"): "b" }),
    }
}

/// Adds a sample for each leaf of a schema to `values`, and the paths of the leaves to `leaves`.
fn fill(root: &Value, schema: &Value, path: &str, values: &mut Map<String, Value>, leaves: &mut Vec<String>) {
    let schema = resolve(root, schema);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let inner = resolve(root, inner);
        if inner["properties"].as_object().is_some_and(|it| !it.is_empty()) {
            let mut nested = Map::new();
            fill(root, inner, &path, &mut nested, leaves);
            values.insert(name.clone(), nested.into());
        } else {
            values.insert(name.clone(), sample(&path, inner));
            leaves.push(path);
        }
    }
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema["$ref"].as_str().and_then(|it| root.pointer(it.trim_start_matches('#')));
    target.map_or(schema, |target| resolve(root, target))
}

#[tokio::test]
async fn upstream_defaults_render_and_notes_list_the_rest() -> Result<()> {
    let values = file(&upstream().await?.join("values.yaml"));
    let objects = render(std::slice::from_ref(&values)).await?;
    ensure!(find(&objects, "Deployment", "acme-operator")["spec"]["replicas"] == 1);
    let notes = notes(&[values]).await?;
    let (_, list) = notes.split_once("These values have no effect here").context("no list in the notes")?;
    insta::assert_snapshot!("without_effect", list);
    Ok(())
}

/// All values of cert-manager's chart, each with a value that asks for something.
#[tokio::test]
async fn no_value_of_upstream_is_rejected() -> Result<()> {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(upstream().await?.join("values.schema.json"))?)?;
    let (mut values, mut leaves) = (Map::new(), Vec::new());
    fill(&schema, &schema, "", &mut values, &mut leaves);
    let mut problems = Vec::new();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("values.json");
    for (name, value) in &values {
        fs::write(&path, json!({ name: value }).to_string())?;
        if let Err(error) = render(&[file(&path)]).await {
            problems.push(format!("{name}: {error:#}"));
        }
    }
    fs::write(&path, Value::from(values).to_string())?;
    let together = render(&[file(&path)]).await.map(|objects| objects.len());
    println!("{} values of cert-manager's chart, {} root values rejected", leaves.len(), problems.len());
    ensure!(leaves.len() > 200 && problems.is_empty(), "rejected: {problems:#?}");
    together.map(drop).context("all together")
}

/// What the API server says about the objects of each file, without storing them.
#[tokio::test]
async fn published_shapes_are_valid_objects() -> Result<()> {
    with_namespace("values", async |namespace| {
        for (name, path) in shapes()? {
            for mut object in render(&[file(&path)]).await? {
                let kind = object["kind"].as_str().unwrap_or_default().to_owned();
                if ![
                    "Deployment",
                    "Service",
                    "ServiceAccount",
                    "PodDisruptionBudget",
                    "NetworkPolicy",
                    "ConfigMap",
                ]
                .contains(&kind.as_str())
                {
                    continue;
                }
                object["metadata"]["namespace"] = json!(namespace.name());
                let version = object["apiVersion"].as_str().unwrap_or_default();
                let (group, version) = version.split_once('/').unwrap_or(("", version));
                let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
                let object: DynamicObject = serde_json::from_value(object)?;
                let api: Api<DynamicObject> =
                    Api::namespaced_with(namespace.client().clone(), namespace.name(), &resource);
                let params = PatchParams::apply("test").dry_run().validation_strict();
                let applied = api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await;
                applied.with_context(|| format!("{name}: {kind} {}", object.name_any()))?;
            }
        }
        Ok(())
    })
    .await
}

/// The lines of all objects, except for roles, policies of admission, and definitions.
async fn lines(flags: &[String]) -> Result<Vec<String>> {
    let elsewhere = ["Role", "CustomResourceDefinition", "AdmissionPolicy"];
    let mut objects = render(flags).await?;
    objects.retain(|it| {
        it["kind"].as_str().is_some_and(|kind| !elsewhere.iter().any(|part| kind.contains(part)))
    });
    Ok(serde_saphyr::to_string(&objects)?.lines().map(ToOwned::to_owned).collect())
}

/// What each file changes: the lines that the chart's own values don't lead to.
#[tokio::test]
async fn published_shapes_have_their_effect() -> Result<()> {
    let default: BTreeSet<_> = lines(&[]).await?.into_iter().collect();
    let mut shown = String::new();
    for (name, path) in shapes()? {
        let mut lines = lines(&[file(&path)]).await?;
        lines.retain(|line| !default.contains(line) && !line.contains("checksum/config"));
        _ = writeln!(shown, "# {name}\n{}", lines.join("\n"));
    }
    insta::assert_snapshot!("shapes", shown);
    Ok(())
}

#[tokio::test]
async fn harmful_values_are_explained() -> Result<()> {
    for (value, explanation) in REJECTED {
        let error = render(&set(&[value])).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(error.contains(explanation), "{value}: {error}");
    }
    let own =
        "image.repository=registry.example.com/acme/operator,image.tag=v1.0.0,image.registry=mirror.example";
    let objects = render(&set(&[own])).await?;
    let container =
        &find(&objects, "Deployment", "acme-operator")["spec"]["template"]["spec"]["containers"][0];
    ensure!(container["image"] == "mirror.example/registry.example.com/acme/operator:v1.0.0", "{container}");
    Ok(())
}

/// A typo is an error at the root and in objects of this chart, but `global` belongs to all charts.
#[tokio::test]
async fn typos_are_rejected_but_global_is_open() -> Result<()> {
    for value in
        ["replicacount=2", "prometheus.servicemonitor.enable=true", "image.repo=a", "installCRD=true"]
    {
        ensure!(render(&set(&[value])).await.is_err(), "{value} is accepted");
    }
    render(&set(&["global.rbac.x=1", "global.leaderElection.y=2", "global.other.z=3"])).await.map(drop)
}

/// As a dependency with a condition, as umbrella charts have it.
#[tokio::test]
async fn chart_is_a_dependency_with_a_condition() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let charts = folder.path().join("charts");
    fs::create_dir(&charts)?;
    std::os::unix::fs::symlink(operator::chart(), charts.join("acme-operator"))?;
    fs::write(
        folder.path().join("Chart.yaml"),
        "apiVersion: v2\nname: platform\nversion: 1.0.0\ndependencies:\n  - name: acme-operator\n    version: '*'\n    condition: \
         acme-operator.enabled\n",
    )?;
    let on = ["global.rbac.x=1", "acme-operator.enabled=true", "acme-operator.replicaCount=2"];
    let objects = render_chart(folder.path(), &set(&on)).await?;
    ensure!(find(&objects, "Deployment", "acme-operator")["spec"]["replicas"] == 2);
    let objects = render_chart(folder.path(), &set(&["acme-operator.enabled=false"])).await?;
    ensure!(objects.is_empty(), "objects of a chart that is turned off");
    Ok(())
}

/// The list of values without effect names only values of cert-manager, and only such that are empty in this chart.
#[tokio::test]
async fn list_of_values_without_effect_is_complete() -> Result<()> {
    let list = fs::read_to_string(operator::chart().join("files/values-without-effect.yaml"))?;
    let list: Map<String, Value> = serde_saphyr::from_str(&list)?;
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(operator::chart().join("values.schema.json"))?)?;
    let says_so: BTreeSet<_> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, it)| it["description"].as_str().is_some_and(|it| it.contains("no effect")))
        .map(|(name, _)| name.as_str())
        .filter(|name| *name != "enabled")
        .collect();
    let listed: BTreeSet<_> = list.keys().map(String::as_str).filter(|path| !path.contains('.')).collect();
    ensure!(says_so == listed, "the schema says {says_so:?}, the list {listed:?}");
    ensure!(!notes(&[]).await?.contains("have no effect here"), "the chart's own values have an effect");
    Ok(())
}
