//! The operator and the solver in a cluster of the testbed: Pods that Helm installs if there is a node, otherwise plain
//! processes with the chart's ServiceAccounts. Either way, tests run with the chart's RBAC. Must not know the
//! operator's code. Next: `user.rs`, which drives the operator.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    audit::{AuditEvent, AuditMark},
    cluster::{Bound, Cluster, Mode, NODE_ADDRESS, Process},
    helm::helm,
    http::{self, Trust},
    service_account,
};
use tokio::time::{Instant, sleep};
use xtask::{
    paths,
    progress::Steps,
    release::{self, Built, ImageProfile},
};

use crate::harness;

/// The name of the Helm release, of its namespace, and of the operator's Deployment.
pub const NAME: &str = "acme-operator";

/// The user name of the operator at the API server.
pub const USER: &str = "system:serviceaccount:acme-operator:acme-operator";

/// The name of the solver's ServiceAccount, Deployment, and Service.
pub const SOLVER: &str = "acme-operator-http01-solver";

/// How long a program may take to start or stop.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The solver's health port as a process. All processes share the node's address, so each port must be different.
const SOLVER_HEALTH_PORT: u16 = 9404;
/// The operator's port for metrics, as a process.
pub const METRICS_PORT: u16 = 9402;
const HEALTH_PORT: u16 = 9403;

/// Flags for readable and detailed logs, which tests print when they fail.
pub const VERBOSE: [&str; 2] = ["--logging-format=text", "--v=4"];

/// The folder of the chart.
pub fn chart() -> PathBuf {
    paths::workspace().join("charts/acme-operator")
}

/// Imports the release images that `cargo xtask image` or `cargo xtask test` has built.
pub async fn load_images(cluster: &Cluster) -> Result<()> {
    let folder = release::image_folder(ImageProfile::Release);
    for package in release::PACKAGES {
        cluster.load_image(&folder.join(format!("{package}.tar"))).await?;
    }
    Ok(())
}

/// Imports images that were just built into a cluster's node.
pub async fn import_images(cluster: &Cluster, images: &[Built], steps: &Steps) -> Result<()> {
    for image in images {
        let step = steps.begin(format!("importing {}", image.reference), None);
        cluster.load_image(&image.archive).await?;
        step.done("");
    }
    Ok(())
}

/// Installs the chart with Helm, and waits until both programs are ready. `flags` are additional flags of `helm
/// upgrade`.
pub async fn install(cluster: &Cluster, flags: &[&str]) -> Result<()> {
    install_release(cluster, NAME, flags).await
}

/// Installs the chart like [`install`], as a release whose namespace has the same name. If that contains "acme-operator", so does
/// its ServiceAccount.
pub async fn install_release(cluster: &Cluster, release: &str, flags: &[&str]) -> Result<()> {
    // Both programs must comply with the Pod Security Standard "restricted".
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": release, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    });
    cluster.apply(&namespace.to_string()).await?;
    upgrade(cluster, release, flags).await
}

/// Installs the chart like [`install_release`], or upgrades a release of another chart to it. The namespace exists.
pub async fn upgrade(cluster: &Cluster, release: &str, flags: &[&str]) -> Result<()> {
    let chart = chart();
    let chart = chart.to_string_lossy();
    let mut arguments = vec![
        "upgrade",
        "--install",
        release,
        &chart,
        "--namespace",
        release,
        "--wait",
        "--timeout=120s",
        "--set=image.pullPolicy=Never,solver.image.pullPolicy=Never",
    ];
    arguments.extend(flags);
    if let Err(error) = helm(cluster, &arguments).await {
        let pods =
            harness::kubectl_text(cluster, &["--namespace", release, "get", "pods", "--output=wide"]).await;
        let events = harness::kubectl_text(cluster, &["--namespace", release, "events"]).await;
        let node = harness::kubectl_text(cluster, &["describe", "nodes"]).await;
        bail!("{error:#}\n{pods}{events}{node}");
    }
    Ok(())
}

/// The operator's writes since a mark, except for its Lease, in the namespaces that `of` selects. For cluster-scoped
/// objects, `of` gets `None`.
pub fn writes(mark: &AuditMark, of: impl Fn(Option<&str>) -> bool) -> Result<Vec<AuditEvent>> {
    let mut events = mark.events()?;
    events.retain(|event| {
        event.user() == USER && event.is_write() && event.resource() != "leases" && of(event.namespace())
    });
    Ok(events)
}

/// The operator's writes since a mark in a namespace, and to the ClusterIssuer of the same name. Those of other tests are left out:
/// their servers may be gone, and then their statuses change.
pub fn writes_for(mark: &AuditMark, namespace: &str) -> Result<Vec<AuditEvent>> {
    let issuer = format!("/clusterissuers/{namespace}/");
    let mut events = writes(mark, |of| of.is_none_or(|of| of == namespace))?;
    events.retain(|event| event.namespace().is_some() || event.request_uri.contains(&issuer));
    Ok(events)
}

/// The requests of both programs of a release since a mark that a role or a policy has rejected.
pub fn rejected(mark: &AuditMark, release: &str) -> Result<Vec<AuditEvent>> {
    let accounts = format!("system:serviceaccount:{release}:");
    let mut events = mark.events()?;
    events.retain(|event| event.user().starts_with(&accounts) && event.status() == Some(403));
    Ok(events)
}

/// Waits until the operator has made none of the requests that `counts` selects for [`harness::QUIET`].
pub async fn await_quiet(cluster: &Cluster, counts: impl Fn(&AuditEvent) -> bool) -> Result<()> {
    let mark = AuditMark::now(cluster)?;
    let activity = || {
        let events = mark.events()?;
        let counted =
            events.iter().filter(|event| event.user() == USER && event.verb != "watch" && counts(event));
        Ok(Some(counted.count()))
    };
    harness::await_quiet("the operator", harness::QUIET, harness::TIMEOUT, activity).await
}

/// The operator and the solver as processes of a cluster without a node. They end when this is dropped.
#[derive(Debug)]
pub struct Processes {
    binaries: PathBuf,
    flags: Vec<String>,
    /// The namespaces that both programs are limited to, if any.
    namespaces: Vec<String>,
    solver: Option<Bound>,
    operator: Option<Bound>,
}

impl Processes {
    /// Applies the chart without its Deployments, and starts both programs from a folder of binaries.
    pub async fn start(cluster: &Cluster, binaries: &Path, flags: &[&str]) -> Result<Self> {
        Self::start_in(cluster, binaries, flags, &[]).await
    }

    /// The same, limited to namespaces, which must exist.
    pub async fn start_in(
        cluster: &Cluster,
        binaries: &Path,
        flags: &[&str],
        namespaces: &[&str],
    ) -> Result<Self> {
        let mut processes = Self::prepare_in(cluster, binaries, flags, namespaces).await?;
        processes.start_operator(cluster, &[]).await?;
        processes.await_operator(cluster).await?;
        Ok(processes)
    }

    /// The same as [`Self::start`], but without starting the operator.
    pub async fn prepare(cluster: &Cluster, binaries: &Path, flags: &[&str]) -> Result<Self> {
        Self::prepare_in(cluster, binaries, flags, &[]).await
    }

    async fn prepare_in(
        cluster: &Cluster,
        binaries: &Path,
        flags: &[&str],
        namespaces: &[&str],
    ) -> Result<Self> {
        if cluster.mode() != Mode::ControlPlane {
            bail!("a cluster with a node runs the operator in Pods: use `operator::install`");
        }
        apply_chart(cluster, namespaces).await?;
        for account in [NAME, SOLVER] {
            service_account::write_kubeconfig(cluster, NAME, account).await?;
        }
        let mut processes = Self {
            binaries: binaries.to_owned(),
            flags: flags.iter().map(ToString::to_string).collect(),
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            solver: None,
            operator: None,
        };
        processes.start_solver(cluster)?;
        announce_solver(cluster).await?;
        await_ready(cluster, SOLVER_HEALTH_PORT, SOLVER).await?;
        Ok(processes)
    }

    /// Starts the solver, which must not be running.
    pub fn start_solver(&mut self, cluster: &Cluster) -> Result<()> {
        let process = Process::new(
            SOLVER,
            self.binaries.join("http01-solver"),
            [
                format!("--healthz-listen-address=0.0.0.0:{SOLVER_HEALTH_PORT}"),
                "--drain-seconds=0".to_owned(),
                format!("--namespace={}", self.namespaces.join(",")),
            ],
        );
        let process = process.env("KUBECONFIG", service_account::kubeconfig_inside(SOLVER).display());
        self.solver = Some(cluster.start_bound(process)?);
        Ok(())
    }

    /// Restarts the operator, with additional environment variables.
    pub async fn start_operator(&mut self, cluster: &Cluster, environment: &[(&str, &str)]) -> Result<()> {
        let mut process = self.operator_process(NAME, &[]);
        for (name, value) in environment {
            process = process.env(name, value);
        }
        // The old and the new process use the same ports.
        self.stop_operator(cluster).await?;
        self.operator = Some(cluster.start_bound(process)?);
        Ok(())
    }

    /// Starts another replica of the operator, with a name and ports of its own. It ends when the returned value is
    /// dropped.
    pub fn start_replica(&self, cluster: &Cluster, name: &str) -> Result<Bound> {
        let ports = [cluster.reserve_port()?, cluster.reserve_port()?];
        let flags = [
            format!("--metrics-listen-address=0.0.0.0:{}", ports[0]),
            format!("--healthz-listen-address=0.0.0.0:{}", ports[1]),
        ];
        cluster.start_bound(self.operator_process(name, &flags))
    }

    fn operator_process(&self, name: &str, flags: &[String]) -> Process {
        let mut arguments = vec![
            format!("--cluster-resource-namespace={NAME}"),
            format!("--solver-namespace={NAME}"),
            format!("--solver-service={SOLVER}"),
        ];
        if !self.namespaces.is_empty() {
            // As in the chart.
            arguments.push(format!("--namespace={}", self.namespaces.join(",")));
            arguments.push(format!("--leader-election-namespace={NAME}"));
        }
        arguments.extend(self.flags.iter().chain(flags).cloned());
        let process = Process::new(name, self.binaries.join("operator"), arguments);
        // As in the chart: a container that restarts has the same UID, and another replica has another one.
        process
            .env("POD_UID", name)
            .env("KUBECONFIG", service_account::kubeconfig_inside(NAME).display())
            .env("NO_COLOR", 1)
    }

    /// The process ID of the operator on the host, if it was started.
    pub fn operator_pid(&self) -> Option<u32> {
        self.operator.as_ref().map(Bound::pid)
    }

    /// The process ID of the solver on the host, if it was started.
    pub fn solver_pid(&self) -> Option<u32> {
        self.solver.as_ref().map(Bound::pid)
    }

    /// Kills the operator with SIGKILL, and waits until its port is closed.
    pub async fn stop_operator(&mut self, cluster: &Cluster) -> Result<()> {
        self.operator = None;
        let deadline = Instant::now() + TIMEOUT;
        while cluster.dial(&NODE_ADDRESS.to_string(), HEALTH_PORT).await.is_ok() {
            if Instant::now() > deadline {
                bail!("waited {} s for {NAME} to end", TIMEOUT.as_secs());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until the operator is ready.
    pub async fn await_operator(&self, cluster: &Cluster) -> Result<()> {
        await_ready(cluster, HEALTH_PORT, NAME).await
    }
}

/// Applies the objects of the chart, except for Deployments.
async fn apply_chart(cluster: &Cluster, namespaces: &[&str]) -> Result<()> {
    let chart = chart();
    let version =
        format!("--kube-version={}", cluster.client().await?.apiserver_version().await?.git_version);
    let values = format!("--set-json=namespaces={}", json!(namespaces));
    let rendered = helm(
        cluster,
        &[
            "template",
            NAME,
            &chart.to_string_lossy(),
            "--namespace",
            NAME,
            "--no-hooks",
            &version,
            "--api-versions=admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",
            &values,
        ],
    )
    .await?;
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&rendered)?;
    objects.retain(|object| object["kind"].is_string() && object["kind"] != "Deployment");
    // The namespace and the definitions first, because the other objects need them.
    let is_definition = |object: &Value| object["kind"] == "CustomResourceDefinition";
    let (definitions, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_definition);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAME } });
    for part in [[vec![namespace], definitions].concat(), others] {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": part });
        cluster.apply(&list.to_string()).await?;
        harness::await_definitions(cluster).await?;
    }
    Ok(())
}

/// Writes the EndpointSlice of the solver's process, which Kubernetes only writes for Pods.
async fn announce_solver(cluster: &Cluster) -> Result<()> {
    let slice: EndpointSlice = serde_json::from_value(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "process", "labels": { "kubernetes.io/service-name": SOLVER } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [NODE_ADDRESS.to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "http", "port": 8089, "protocol": "TCP" }],
    }))?;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client().await?, NAME);
    slices.patch("process", &PatchParams::apply("testbed").force(), &Patch::Apply(&slice)).await?;
    Ok(())
}

async fn await_ready(cluster: &Cluster, port: u16, process: &str) -> Result<()> {
    let url = format!("http://{NODE_ADDRESS}:{port}/readyz");
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match http::get(&cluster.network(), &url, &Trust::Nothing).await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            _ if Instant::now() > deadline => {
                let seconds = TIMEOUT.as_secs();
                let log = cluster.log_tail(process, 20);
                bail!("waited {seconds} s for {process} to be ready; its log ends with\n{log}")
            }
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
}
