//! The Pods from which connections are tried. Some have the labels of the operator's Pods or of the ingress controller's, so that the
//! same policies select them. They are never ready, so no Service leads to them. Knows the chart's Deployments.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::{harness, operator};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api,
    api::{ListParams, PostParams},
    runtime::conditions::is_pod_running,
};
use serde_json::json;
use testbed::{cluster::Cluster, page::AGNHOST_IMAGE};

use crate::flows::Client;

/// The namespace of the ingress controller.
pub(crate) const INGRESS: &str = "traefik";
/// A namespace in which everything is denied by default, and a certificate is issued.
pub(crate) const TENANT: &str = "tenant";
/// A namespace without policies, so that only those at the other end of a connection apply.
pub(crate) const NEIGHBOR: &str = "neighbor";
/// The namespace that may read metrics.
pub(crate) const MONITORING: &str = "monitoring";

pub(crate) const AS_OPERATOR: Client =
    Client { name: "the operator", namespace: operator::NAME, pod: "as-operator" };
pub(crate) const AS_SOLVER: Client =
    Client { name: "the solver", namespace: operator::NAME, pod: "as-solver" };
pub(crate) const AS_INGRESS: Client =
    Client { name: "the ingress controller", namespace: INGRESS, pod: "as-ingress-controller" };
pub(crate) const OF_TENANT: Client = Client { name: "a tenant's Pod", namespace: TENANT, pod: "client" };
pub(crate) const OF_NEIGHBOR: Client =
    Client { name: "a Pod without policies", namespace: NEIGHBOR, pod: "client" };
pub(crate) const OF_MONITORING: Client = Client { name: "Prometheus", namespace: MONITORING, pod: "client" };

/// The ports at which every Pod of this module listens: one that the operator may connect to, and one that it may not.
pub(crate) const PORTS: [u16; 2] = [80, 8080];

/// The addresses of Pods.
pub(crate) struct Addresses {
    pub(crate) operator: String,
    pub(crate) solver: String,
    pub(crate) as_operator: String,
    pub(crate) tenant: String,
    pub(crate) neighbor: String,
}

/// Starts all Pods, and waits until they run.
pub(crate) async fn start(cluster: &Cluster) -> Result<Addresses> {
    let client = cluster.client().await?;
    let operator = labels(&client, operator::NAME).await?;
    let solver = labels(&client, operator::SOLVER).await?;
    let ingress = BTreeMap::from([("app".to_owned(), "traefik".to_owned())]);
    let none = BTreeMap::new();
    let all = [
        (AS_OPERATOR, &operator),
        (AS_SOLVER, &solver),
        (AS_INGRESS, &ingress),
        (OF_TENANT, &none),
        (OF_NEIGHBOR, &none),
        (OF_MONITORING, &none),
    ];
    for (place, labels) in all {
        let pods: Api<Pod> = Api::namespaced(client.clone(), place.namespace);
        pods.create(&PostParams::default(), &pod(place, labels)?).await?;
    }
    for (place, _) in all {
        let pods: Api<Pod> = Api::namespaced(client.clone(), place.namespace);
        harness::await_condition(pods, place.pod, "run", harness::TIMEOUT, is_pod_running()).await?;
    }
    Ok(Addresses {
        operator: ready_address(&client, &operator).await?,
        solver: ready_address(&client, &solver).await?,
        as_operator: address(&client, AS_OPERATOR).await?,
        tenant: address(&client, OF_TENANT).await?,
        neighbor: address(&client, OF_NEIGHBOR).await?,
    })
}

fn pod(place: Client, labels: &BTreeMap<String, String>) -> Result<Pod> {
    let container = |port: &u16| {
        json!({
            "name": format!("port-{port}"),
            "image": AGNHOST_IMAGE,
            "imagePullPolicy": "Never",
            "args": ["netexec", format!("--http-port={port}"), "--udp-port=-1"],
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        })
    };
    Ok(serde_json::from_value(json!({
        "metadata": { "name": place.pod, "labels": labels },
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "readinessGates": [{ "conditionType": "test.acme-operator/never" }],
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "seccompProfile": { "type": "RuntimeDefault" },
                "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }],
            },
            "containers": PORTS.iter().map(container).collect::<Vec<_>>(),
        },
    }))?)
}

/// The labels by which a Deployment of the chart, and thus its policy, selects Pods.
async fn labels(client: &kube::Client, name: &str) -> Result<BTreeMap<String, String>> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), operator::NAME);
    let deployment = deployments.get(name).await?;
    let labels = deployment.spec.and_then(|spec| spec.selector.match_labels);
    labels.with_context(|| format!("the Deployment {name} selects no labels"))
}

/// The address of a Pod that was started here.
async fn address(client: &kube::Client, place: Client) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), place.namespace);
    let address = pods.get(place.pod).await?.status.and_then(|status| status.pod_ip);
    address.with_context(|| format!("the Pod {} has no address", place.pod))
}

/// The address of a Pod of the release that is ready, and thus is none that was started here.
async fn ready_address(client: &kube::Client, labels: &BTreeMap<String, String>) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), operator::NAME);
    let selector: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let found = pods.list(&ListParams::default().labels(&selector.join(","))).await?;
    let statuses = found.items.into_iter().filter_map(|pod| pod.status);
    let mut ready = statuses.filter(|status| {
        status.conditions.iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
    });
    let address = ready.next().and_then(|status| status.pod_ip);
    address.with_context(|| format!("no Pod with the labels {labels:?} is ready"))
}
