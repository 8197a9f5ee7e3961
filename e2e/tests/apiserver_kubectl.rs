//! What kubectl shows of our resources, compared with snapshots except for ages. Next: `crds` for columns and descriptions.

mod support;

use std::fmt::Write;

use anyhow::{Result, ensure};
use e2e::harness::{self, Namespace, with_namespace};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use support::api::{api_of, documents};
use xtask::process::text;

const SHOWN: &str = include_str!("data/api/shown.yaml");

async fn kubectl(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    let output = namespace
        .cluster()
        .kubectl()
        .args(["--namespace", namespace.name()])
        .args(arguments)
        .output()
        .await?;
    let printed = text(&output);
    ensure!(output.status.success(), "{printed}");
    Ok(printed)
}

/// A table without its last column, the age, and without trailing spaces.
fn without_age(table: &str) -> String {
    let end = table.lines().next().and_then(|heads| heads.rfind("AGE")).unwrap_or(usize::MAX);
    table.lines().map(|line| line.get(..end).unwrap_or(line).trim_end()).collect::<Vec<_>>().join("\n")
}

/// `kubectl get` shows what matters most, in both formats and by category.
#[tokio::test]
async fn tables_match_the_snapshot() -> Result<()> {
    with_namespace("tables", async |namespace| {
        harness::install_definitions(namespace.cluster()).await?;
        for manifest in documents(SHOWN)? {
            let api = api_of(namespace.client(), namespace.name(), &manifest)?;
            let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
            let params = PatchParams::apply("test").validation_strict();
            let mut bare = manifest.clone();
            let status = bare.as_object_mut().and_then(|fields| fields.remove("status"));
            api.patch(name, &params, &Patch::Apply(bare)).await?;
            let status =
                json!({ "apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "status": status });
            api.patch_status(name, &params, &Patch::Apply(status)).await?;
        }
        let mut shown = String::new();
        for kind in ["cert", "cr", "issuer", "orders", "challenges"] {
            for wide in [&[][..], &["--output=wide"]] {
                let table = kubectl(namespace, &[&["get", kind], wide].concat()).await?;
                _ = writeln!(shown, "$ kubectl get {kind} {}\n{}\n", wide.join(" "), without_age(&table));
            }
        }
        insta::assert_snapshot!("tables", shown);
        let by_category = kubectl(namespace, &["get", "cert-manager", "--output=name"]).await?;
        let namespaced = by_category.lines().filter(|name| !name.starts_with("clusterissuer.")).count();
        ensure!(namespaced == 7, "the category cert-manager does not contain the 7 objects: {by_category}");
        Ok(())
    })
    .await
}

/// `kubectl explain` shows the doc comments of the Rust types.
#[tokio::test]
async fn explain_matches_the_snapshot() -> Result<()> {
    with_namespace("explain", async |namespace| {
        harness::install_definitions(namespace.cluster()).await?;
        let mut shown = String::new();
        for field in [
            "certificate.spec.renewBefore",
            "certificate.spec.privateKey",
            "clusterissuer.spec.acme.solvers.http01.ingress",
            "challenge",
        ] {
            let explained = kubectl(namespace, &["explain", field]).await?;
            _ = writeln!(shown, "$ kubectl explain {field}\n{explained}");
        }
        let shown = shown.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!("explain", shown);
        Ok(())
    })
    .await
}
