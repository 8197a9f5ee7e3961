//! The chart as Helm renders it: valid, unchanged, and with no more permissions than expected here.
//!
//! Knows values and rendered objects; must not install them. Next: `apiserver_chart_values.rs` for
//! values of cert-manager's chart, `e2e_issuance` for the installed chart.

mod support;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use e2e::{harness, operator};
use serde_json::Value;
use support::chart;
use testbed::helm::helm;

/// Renders the chart with values. Returns its objects.
async fn render(values: &[&str]) -> Result<Vec<Value>> {
    chart::render(&chart::set(values)).await
}

/// Renders the chart as a release, in a namespace of the same name, with additional flags of Helm.
async fn render_as(release: &str, flags: &[&str], values: &[&str]) -> Result<Vec<Value>> {
    let flags: Vec<_> = flags.iter().map(ToString::to_string).chain(chart::set(values)).collect();
    chart::render_release(release, &operator::chart(), &flags).await
}

/// The objects without CRDs and admission policies, which have snapshots of their own.
fn without_crds_and_policies(objects: &[Value]) -> Vec<&Value> {
    let elsewhere = ["CustomResourceDefinition", "ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"];
    objects
        .iter()
        .filter(|object| !elsewhere.contains(&object["kind"].as_str().unwrap_or_default()))
        .collect()
}

#[tokio::test]
async fn chart_passes_strict_lint() -> Result<()> {
    let chart = operator::chart();
    let printed = helm(harness::cluster()?, &["lint", "--strict", &chart.to_string_lossy()]).await?;
    ensure!(printed.contains("0 chart(s) failed"), "{printed}");
    Ok(())
}

#[tokio::test]
async fn rendered_objects_match_the_snapshots() -> Result<()> {
    let objects = render(&[]).await?;
    let text = serde_saphyr::to_string(&without_crds_and_policies(&objects))?;
    insta::assert_snapshot!("default", text);
    let values = [
        "replicaCount=2",
        "podDisruptionBudget.enabled=true",
        "prometheus.podmonitor.enabled=true",
        "disableAutoApproval=true",
        "enableCertificateOwnerRef=true",
        "ingressShim.defaultIssuerName=prod,ingressShim.defaultIssuerKind=ClusterIssuer",
        "config.logging.format=text",
        "global.imagePullSecrets[0].name=registry",
        "prometheus.certificateMetrics=false",
        r"networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\.io/metadata\.name=monitoring",
        "networkPolicy.egress.enabled=true",
        "networkPolicy.egress.acmeExcept={169.254.0.0/16,fe80::/10}",
    ];
    let objects = render(&values).await?;
    let text = serde_saphyr::to_string(&without_crds_and_policies(&objects))?;
    insta::assert_snapshot!("everything", text);
    Ok(())
}

/// The schema of the values rejects unknown names and invalid values.
#[tokio::test]
async fn unknown_value_is_rejected() -> Result<()> {
    for value in [
        "replicas=2",
        "solver.replicaCount=0",
        "image.pullPolicy=Sometimes",
        "prometheus.podmonitor.on=true",
        "networkPolicy.egress.acmePorts[0]=http",
        "networkPolicy.egress.acmeExcept={metadata}",
    ] {
        ensure!(render(&[value]).await.is_err(), "{value} is accepted");
    }
    Ok(())
}

#[tokio::test]
async fn crds_are_kept_or_omitted_by_values() -> Result<()> {
    let definitions = async |values: &[&str]| -> Result<Vec<Value>> {
        let objects = render(values).await?;
        Ok(objects.into_iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect())
    };
    let policy = |of: &Value| of["metadata"]["annotations"]["helm.sh/resource-policy"].clone();
    let kept = definitions(&[]).await?;
    ensure!(
        kept.len() == 6 && kept.iter().all(|definition| policy(definition) == "keep"),
        "by default, all six CRDs are kept"
    );
    let not_kept = definitions(&["crds.keep=false"]).await?;
    ensure!(
        not_kept.iter().all(|definition| policy(definition).is_null()),
        "with crds.keep=false, no CRD has a resource policy"
    );
    let omitted = definitions(&["crds.enabled=false"]).await?;
    ensure!(omitted.is_empty(), "with crds.enabled=false, {} CRDs are rendered", omitted.len());
    Ok(())
}

/// As in cert-manager's chart, an empty list of signers means all. Otherwise, no request is approved.
#[tokio::test]
async fn empty_list_of_signers_means_all() -> Result<()> {
    for values in [&["approveSignerNames=null"][..], &["approveSignerNames=null", "namespaces={shop}"]] {
        let objects = render(values).await?;
        let role = chart::find(&objects, "ClusterRole", "acme-operator-approve");
        let granted = &role["rules"][0];
        let is_all = granted["verbs"][0] == "approve" && granted["resourceNames"].is_null();
        ensure!(is_all, "{values:?}: {granted}");
    }
    Ok(())
}

/// A key that is in two values is rendered once, and no value replaces a label that selects Pods.
#[tokio::test]
async fn labels_of_an_object_win_over_common_ones() -> Result<()> {
    let values = [
        "global.commonLabels.owner=all",
        "podLabels.owner=pod",
        r"podLabels.app\.kubernetes\.io/name=other",
        r"podLabels.app\.kubernetes\.io/version=v1",
    ];
    let objects = render(&values).await?;
    let deployment = chart::find(&objects, "Deployment", operator::NAME);
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    ensure!(
        labels["owner"] == "pod" && labels["app.kubernetes.io/version"] == "v1",
        "the labels are {labels}"
    );
    ensure!(
        labels["app.kubernetes.io/name"] == operator::NAME,
        "a label that selects Pods is replaced: {labels}"
    );
    ensure!(deployment["metadata"]["labels"]["owner"] == "all", "{deployment}");
    Ok(())
}

/// RoleBindings of users name the roles that cert-manager's chart has in a release of this name.
#[tokio::test]
async fn roles_of_users_have_the_names_of_cert_manager() -> Result<()> {
    let names = async |release: &str, values: &[&str]| -> Result<Vec<String>> {
        let objects = render_as(release, &[], values).await?;
        let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole");
        let names = roles.filter_map(|role| role["metadata"]["name"].as_str().map(ToOwned::to_owned));
        Ok(names.filter(|name| name.ends_with("view") || name.ends_with("edit")).collect())
    };
    let all = |prefix: &str| ["view", "cluster-view", "edit"].map(|suffix| format!("{prefix}-{suffix}"));
    ensure!(names("acme-operator", &[]).await? == all("acme-operator"));
    let of_release = [all("cert-manager-acme-operator"), all("cert-manager")].concat();
    ensure!(names("cert-manager", &[]).await? == of_release);
    ensure!(names("cert-manager", &["fullnameOverride=cert-manager"]).await? == all("cert-manager"));
    let by_value = names("acme-operator", &["global.rbac.roleAliases={cert-manager}"]).await?;
    ensure!(by_value == [all("acme-operator"), all("cert-manager")].concat());
    for object in render(&["global.rbac.aggregateClusterRoles=false"]).await? {
        let labels = object["metadata"]["labels"].to_string();
        ensure!(!labels.contains("aggregate-to"), "aggregated: {object}");
    }
    Ok(())
}

/// The solver's port for metrics is reached by Pods only, and its job differs from that of the operator, whose absence is an alert.
#[tokio::test]
async fn monitors_cover_the_solver() -> Result<()> {
    for (value, kind, endpoints) in [
        ("prometheus.podmonitor.enabled=true", "PodMonitor", "podMetricsEndpoints"),
        ("prometheus.servicemonitor.enabled=true", "ServiceMonitor", "endpoints"),
    ] {
        let objects = render(&[value]).await?;
        for (name, job) in
            [(operator::NAME, "cert-manager"), (operator::SOLVER, "cert-manager-http01-solver")]
        {
            let endpoint = &chart::find(&objects, kind, name)["spec"][endpoints][0];
            ensure!(endpoint["relabelings"][0]["replacement"] == job, "{name}: {endpoint}");
        }
        let service = &chart::find(&objects, "Service", operator::SOLVER)["spec"]["ports"];
        ensure!(
            !service.to_string().contains("9402"),
            "everyone who is routed to the solver reaches {service}"
        );
    }
    let off = render(&["prometheus.enabled=false"]).await?;
    let solver = chart::find(&off, "Deployment", operator::SOLVER).to_string();
    ensure!(!solver.contains("metrics"), "the solver has metrics: {solver}");
    Ok(())
}

/// The only replica can be evicted, so that its node can be drained.
#[tokio::test]
async fn one_replica_does_not_block_a_drain() -> Result<()> {
    let objects = render(&["solver.replicaCount=1", "podDisruptionBudget.enabled=true"]).await?;
    for name in [operator::NAME, operator::SOLVER] {
        let budget = &chart::find(&objects, "PodDisruptionBudget", name)["spec"];
        ensure!(budget["maxUnavailable"] == 1 && budget["minAvailable"].is_null(), "{name}: {budget}");
    }
    let objects = render(&["solver.podDisruptionBudget.minAvailable=1"]).await?;
    let budget = &chart::find(&objects, "PodDisruptionBudget", operator::SOLVER)["spec"];
    ensure!(
        budget["minAvailable"] == 1 && budget["maxUnavailable"].is_null(),
        "a value is ignored: {budget}"
    );
    Ok(())
}

/// No role has wildcards, access to Pods, or permission to update Secrets.
#[tokio::test]
async fn roles_grant_only_needed_permissions() -> Result<()> {
    for object in render(&[]).await? {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !["ClusterRole", "Role"].contains(&kind) {
            continue;
        }
        for rule in object["rules"].as_array().into_iter().flatten() {
            let has = |field: &str, value: &str| {
                rule[field].as_array().is_some_and(|values| values.iter().any(|it| it == value))
            };
            ensure!(
                !has("verbs", "*") && !has("resources", "*") && !has("apiGroups", "*"),
                "a rule has a wildcard: {rule}"
            );
            ensure!(
                !has("resources", "pods") && !has("resources", "pods/exec"),
                "a rule grants access to Pods: {rule}"
            );
            ensure!(
                !(has("resources", "secrets") && has("verbs", "update")),
                "a rule allows updates of Secrets: {rule}"
            );
        }
    }
    Ok(())
}

/// With namespaces, the operator and the solver have no role elsewhere, except what is in no namespace.
#[tokio::test]
async fn namespaced_roles_are_in_these_namespaces() -> Result<()> {
    for object in render(&["namespaces={shop,blog}"]).await? {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = object["metadata"]["namespace"].as_str();
        match object["kind"].as_str().unwrap_or_default() {
            "ClusterRole" | "ClusterRoleBinding" => {
                let allowed = ["approve", "cluster-view", "definitions", "edit", "view"];
                let suffix = name.strip_prefix("acme-operator-").unwrap_or_default();
                ensure!(allowed.contains(&suffix), "a cluster-wide role: {object}");
            }
            "Role" | "RoleBinding" => {
                let own = ["acme-operator-leader-election", "acme-operator-solver"].contains(&name);
                let expected: &[_] = if own { &["acme-operator"] } else { &["shop", "blog"] };
                ensure!(namespace.is_some_and(|it| expected.contains(&it)), "a role elsewhere: {object}");
            }
            "Deployment" => {
                let arguments = object["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
                ensure!(arguments.contains("--namespace=shop,blog"), "{name} serves all: {arguments}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Two releases for different namespaces have no object in common, except for the CustomResourceDefinitions.
#[tokio::test]
async fn releases_have_no_object_in_common() -> Result<()> {
    let named = |objects: &[Value]| -> BTreeSet<String> {
        let name =
            |it: &Value| format!("{} {} {}", it["kind"], it["metadata"]["namespace"], it["metadata"]["name"]);
        objects.iter().filter(|it| it["kind"] != "CustomResourceDefinition").map(name).collect()
    };
    let mutating = ["--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"];
    let shop = render_as("acme-operator", &mutating, &["namespaces={shop}"]).await?;
    let blog = render_as("blog", &mutating, &["namespaces={blog}", "crds.enabled=false"]).await?;
    let (shop_names, blog_names) = (named(&shop), named(&blog));
    ensure!(shop_names.len() == blog_names.len(), "{shop_names:?} {blog_names:?}");
    let both: Vec<_> = shop_names.intersection(&blog_names).collect();
    ensure!(both.is_empty(), "both releases have {both:?}");
    let own = blog.iter().filter(|it| it["kind"].as_str().is_some_and(|kind| kind.ends_with("Policy")));
    for policy in own.filter(|it| it["apiVersion"] == "admissionregistration.k8s.io/v1") {
        let name = policy["metadata"]["name"].as_str().unwrap_or_default();
        let is_bound = blog.iter().any(|it| it["spec"]["policyName"] == name);
        ensure!(name.starts_with("blog-acme-operator-") && is_bound, "{name} is not bound");
        let conditions = policy["spec"]["matchConditions"].to_string();
        if name.contains("-own-") {
            let user = "'system:serviceaccount:blog:blog-acme-operator'";
            ensure!(conditions.contains(user), "{name} is for {conditions}");
        }
    }
    Ok(())
}
