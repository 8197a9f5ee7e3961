//! The start of every test that needs a cluster: the running cluster, a namespace per test, and waits whose errors say what they
//! waited for. A failed test prints the objects, events, and logs of its namespace.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use e2e::harness;
//!
//! harness::with_namespace("page", async |namespace| {
//!     namespace.serve_page("web", "web.page.example.test").await?;
//!     let page = namespace.await_page("http://web.page.example.test/hostname").await?;
//!     assert_eq!(page, "web");
//!     Ok(())
//! })
//! .await
//! # }
//! ```
//!
//! Knows Kubernetes and the testbed; must not know what the operator does. Next: `user.rs` for what a test does in its namespace.

use std::{
    any::Any,
    env,
    fmt::{Debug, Write},
    panic::AssertUnwindSafe,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Pod, ServiceAccount};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams},
    core::NamespaceResourceScope,
    runtime::{
        conditions::is_pod_running,
        wait::{self, Condition},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use testbed::{
    bring_up,
    cluster::{Cluster, DEFAULT_NAME, IngressController, Mode, Network, Options},
    http::Trust,
    page, paths,
    progress::Steps,
    tools::Tools,
};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

/// The environment variable with the name of the cluster that tests use. `cargo xtask test` sets it.
pub const CLUSTER_VARIABLE: &str = "ACME_OPERATOR_CLUSTER";

/// The environment variable that keeps the namespaces of tests, to inspect them afterwards.
pub const KEEP_VARIABLE: &str = "ACME_OPERATOR_KEEP";

/// How long a test waits for a state, unless it says otherwise.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// How long a controller must be inactive to count as done: longer than any pause between two of its steps.
pub const QUIET: Duration = Duration::from_secs(3);

/// How often activity is counted while [`await_quiet`] waits.
const QUIET_POLL: Duration = Duration::from_millis(500);

/// The running cluster that tests share: the one that `$ACME_OPERATOR_CLUSTER` names, otherwise the one that
/// `cargo xtask cluster up` started. It runs at least as long as this process.
pub fn cluster() -> Result<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| {
            let name = env::var(CLUSTER_VARIABLE).unwrap_or_else(|_| DEFAULT_NAME.to_owned());
            Cluster::attach(&name).map_err(|error| format!("{error:#}"))
        })
        .as_ref()
        .map_err(|error| anyhow!("failed to find a cluster for the tests: {error}"))
}

/// Starts a cluster without a node, named after the tests that it is for.
pub async fn start_control_plane(tests: &str) -> Result<Cluster> {
    start_control_plane_with(tests, &[]).await
}

/// The same, with further flags of the API server.
pub async fn start_control_plane_with(tests: &str, flags: &[&str]) -> Result<Cluster> {
    let name = format!("test-{tests}-{}", std::process::id());
    let api_server_flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    let options = Options { api_server_flags, ..Options::new(name, Mode::ControlPlane) };
    start_with(&options).await
}

/// Starts a cluster without a node whose Traefik also serves Gateways.
pub async fn start_gateways(tests: &str) -> Result<Cluster> {
    let name = format!("test-{tests}-{}", std::process::id());
    let options = Options { gateway_api: true, ..Options::new(name, Mode::ControlPlane) };
    start_with(&options).await
}

/// Starts a cluster with a node, named after the tests that it is for, with the tools of the shared cluster.
pub async fn start_node(tests: &str) -> Result<Cluster> {
    start_node_with(tests, false).await
}

/// The same, where Traefik may also serve Gateways.
pub async fn start_node_with(tests: &str, gateway_api: bool) -> Result<Cluster> {
    let name = format!("test-{tests}-{}", std::process::id());
    let options = Options { gateway_api, ..Options::new(name, Mode::Node) };
    bring_up::start(&options, cluster()?.tools(), &Steps::default()).await
}

/// Starts a cluster with a node where a certain ingress controller serves Gateways, named after it.
pub async fn start_served_by(ingress: IngressController) -> Result<Cluster> {
    let name = format!("test-{}-{}", ingress.gateway_class(), std::process::id());
    let options = Options { ingress, gateway_api: true, ..Options::new(name, Mode::Node) };
    start_with(&options).await
}

/// Starts a cluster with a node whose Pods a certain network connects, named after it.
pub async fn start_connected_by(network: Network) -> Result<Cluster> {
    let name = format!("test-{}-{}", network.name().to_lowercase(), std::process::id());
    let options = Options { network, ..Options::new(name, Mode::Node) };
    start_with(&options).await
}

/// Starts a cluster, all of whose tools are built.
pub async fn start_with(options: &Options) -> Result<Cluster> {
    bring_up::start(options, &Tools::seen_at(paths::cache()?), &Steps::default()).await
}

/// Starts what all tests of a program share, in the first test that needs it.
///
/// # Errors
/// It failed to start. All tests get the same error.
pub fn start_once<T: Send + Sync + 'static>(
    cell: &'static OnceLock<Result<T, String>>,
    start: impl AsyncFnOnce() -> Result<T> + Send + 'static,
) -> Result<&'static T> {
    let start = move || -> Result<T> { tokio::runtime::Runtime::new()?.block_on(start()) };
    cell
        // A runtime can't be started inside the runtime of a test.
        .get_or_init(|| {
            std::thread::spawn(move || start().map_err(|error| format!("{error:#}")))
                .join()
                .unwrap_or_else(|_| Err("the start panicked".into()))
        })
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}

/// The namespace of one test, deleted when the test ends.
#[derive(Clone)]
pub struct Namespace {
    cluster: &'static Cluster,
    client: kube::Client,
    name: String,
}

/// Creates a namespace.
///
/// # Errors
/// The namespace exists already, or the request fails.
pub async fn create_namespace(client: &kube::Client, name: &str) -> Result<()> {
    let object = NamespaceObject {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..NamespaceObject::default()
    };
    let namespaces = Api::all(client.clone());
    let created = namespaces.create(&PostParams::default(), &object).await;
    created.map(drop).with_context(|| format!("failed to create the namespace {name}"))
}

/// Runs a test in a new namespace of the shared cluster. If the test returns an error or panics, prints what the namespace
/// contains. Deletes the namespace in either case, unless `$ACME_OPERATOR_KEEP` is set.
pub async fn with_namespace(prefix: &str, test: impl AsyncFnOnce(&Namespace) -> Result<()>) -> Result<()> {
    let cluster = cluster()?;
    let client = cluster.client().await?;
    let name = unique(prefix);
    let namespaces: Api<NamespaceObject> = Api::all(client.clone());
    create_namespace(&client, &name).await?;
    let namespace = Namespace { cluster, client, name };
    // Pods are rejected until the namespace has its default ServiceAccount.
    let accounts = namespace.api::<ServiceAccount>();
    await_condition(accounts, "default", "exist", TIMEOUT, |account: Option<&ServiceAccount>| {
        account.is_some()
    })
    .await?;

    let outcome = AssertUnwindSafe(test(&namespace)).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(()))) {
        eprintln!("{}", namespace.dump().await);
    }
    if env::var_os(KEEP_VARIABLE).is_some() {
        eprintln!("the namespace {} is kept, because {KEEP_VARIABLE} is set", namespace.name);
    } else if namespaces.get_opt(&namespace.name).await?.is_some() {
        namespaces.delete(&namespace.name, &DeleteParams::background()).await?;
    }
    outcome.unwrap_or_else(|panic: Box<dyn Any + Send>| std::panic::resume_unwind(panic))
}

impl Namespace {
    /// The cluster that the namespace is in.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// A client with all permissions.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The name, which no other test uses.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Runs `kubectl apply` on YAML whose objects name no namespace.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.cluster.apply_in(Some(&self.name), manifests).await
    }

    /// Creates a Pod that serves a page at `host` through Traefik, with a Service and an Ingress, all called `name`. Waits until the Pod
    /// runs.
    pub async fn serve_page(&self, name: &str, host: &str) -> Result<()> {
        page::serve_page(self.cluster, &self.name, name, host).await?;
        self.await_pod(name).await
    }

    /// Waits until a Pod is running.
    pub async fn await_pod(&self, name: &str) -> Result<()> {
        await_condition(self.api::<Pod>(), name, "run", TIMEOUT, is_pod_running()).await.map(drop)
    }

    /// Waits until a page is served. Returns its content.
    pub async fn await_page(&self, url: &str) -> Result<String> {
        page::await_page(self.cluster, url, &Trust::Nothing, TIMEOUT).await
    }

    /// Runs a command in the first container of a Pod. Returns its standard output.
    ///
    /// # Errors
    /// The command did not exit with 0. The error contains what it printed.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let mut kubectl = self.cluster.kubectl();
        let output =
            kubectl.args(["--namespace", &self.name, "exec", pod, "--"]).args(command).output().await?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("failed to run {command:?} in the Pod {pod:?}: {printed}{error}");
        }
        Ok(printed)
    }

    /// The objects, events, and logs of the namespace as text, without the content of Secrets.
    pub async fn dump(&self) -> String {
        let mut text = format!("--- objects in the namespace {} ---\n", self.name);
        let kinds = self.kubectl(&["api-resources", "--verbs=list", "--namespaced", "--output=name"]).await;
        // Events are printed below, in order. Endpoints are deprecated, and kubectl warns about them each time.
        let kinds: Vec<&str> =
            kinds.lines().filter(|kind| !kind.starts_with("events") && *kind != "endpoints").collect();
        text += &self.kubectl(&["get", &kinds.join(","), "--output=wide", "--ignore-not-found"]).await;
        text += "--- events ---\n";
        text += &self.kubectl(&["events"]).await;
        for pod in self.api::<Pod>().list(&kube::api::ListParams::default()).await.into_iter().flatten() {
            _ = writeln!(text, "--- log of {} ---", pod.name_any());
            text +=
                &self.kubectl(&["logs", &pod.name_any(), "--all-containers", "--prefix", "--tail=50"]).await;
        }
        text
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        kubectl_text(self.cluster, &[&["--namespace", &self.name], arguments].concat()).await
    }
}

/// What kubectl prints, for the messages of failed tests.
pub async fn kubectl_text(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.kubectl().args(arguments).output().await;
    output.map_or_else(
        |error| format!("failed to start kubectl: {error}\n"),
        |output| {
            let error = String::from_utf8_lossy(&output.stderr);
            format!("{}{error}", String::from_utf8_lossy(&output.stdout))
        },
    )
}

/// Applies our six CRDs with kubectl, as users do, and waits until they are established. Returns what kubectl printed.
pub async fn install_definitions(cluster: &Cluster) -> Result<String> {
    // Two concurrent `kubectl apply` would both try to create them.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _guard = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir()?;
    for file in crds::generate::custom_resource_definitions()? {
        std::fs::write(folder.path().join(file.name), file.content)?;
    }
    let mut all_printed = String::new();
    for verb in [&["apply"][..], &["wait", "--for=condition=Established", "--timeout=30s"]] {
        let output = cluster.kubectl().args(verb).arg("--filename").arg(folder.path()).output().await?;
        let printed =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "failed to run kubectl {verb:?} on the CRDs: {printed}");
        all_printed += &printed;
    }
    Ok(all_printed)
}

/// Waits until all CRDs in a cluster are established.
pub async fn await_definitions(cluster: &Cluster) -> Result<()> {
    let wait = ["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"];
    let output = cluster.kubectl().args(wait).output().await?;
    let printed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the CRDs are not established: {printed}");
    Ok(())
}

/// Waits until `activity` returns the same count for as long as `quiet`. `None` means that the activity has not started yet, and never
/// counts as quiet.
///
/// # Errors
/// The wait took longer than `limit`. The error says that `who` is still active.
pub async fn await_quiet(
    who: &str,
    quiet: Duration,
    limit: Duration,
    activity: impl Fn() -> Result<Option<usize>>,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let count = activity()?;
        if count != last {
            (last, since) = (count, Instant::now());
        }
        if count.is_some() && since.elapsed() >= quiet {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "waited {1} s for {who} to be quiet for {0} s, but it is still active",
            quiet.as_secs(),
            limit.as_secs()
        );
        sleep(QUIET_POLL).await;
    }
}

/// Waits until a check passes, and returns how long that took. `what` completes "waited for …".
///
/// # Errors
/// The wait took longer than `limit`, or a check failed.
pub async fn eventually(
    what: &str,
    limit: Duration,
    mut check: impl AsyncFnMut() -> Result<bool>,
) -> Result<Duration> {
    let start = Instant::now();
    while !check().await? {
        ensure!(start.elapsed() < limit, "waited {} s for {what}", limit.as_secs());
        sleep(Duration::from_millis(100)).await;
    }
    Ok(start.elapsed())
}

/// Asserts that something stays true for as long as `period`: that something else does not happen. `what` completes "it did not
/// stay true that …".
///
/// # Errors
/// One of the calls of `check` failed.
pub async fn assert_stays(what: &str, period: Duration, check: impl AsyncFn() -> Result<()>) -> Result<()> {
    const CHECKS: u32 = 10;
    for _ in 0..CHECKS {
        sleep(period / CHECKS).await;
        check().await.with_context(|| format!("it did not stay true that {what}"))?;
    }
    Ok(())
}

/// Waits until an object, or its absence, meets a condition. Returns the object that met it. `what` completes "waited for … to …".
///
/// # Errors
/// The wait took longer than `limit`. The error shows the current object.
pub async fn await_condition<K>(
    api: Api<K>,
    name: &str,
    what: &str,
    limit: Duration,
    condition: impl Condition<K>,
) -> Result<Option<K>>
where
    K: Clone + Debug + Send + DeserializeOwned + Serialize + Resource + 'static,
    K::DynamicType: Default,
{
    if let Ok(found) = timeout(limit, wait::await_condition(api.clone(), name, condition)).await {
        return Ok(found?);
    }
    let mut object = serde_json::to_value(api.get_opt(name).await?)?;
    if let Some(fields) = object.as_object_mut() {
        // The content of a Secret must not be printed.
        fields.remove("data");
        fields.remove("stringData");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    bail!(
        "waited {} s for {} {name:?} to {what}; the object is\n{}",
        limit.as_secs(),
        K::kind(&K::DynamicType::default()),
        serde_saphyr::to_string(&object)?
    )
}

/// A name that no other test has. Tests of one process differ by the time in nanoseconds, and processes by their PID.
fn unique(prefix: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{prefix}-{:x}-{:x}", std::process::id(), nanos & 0xff_ffff_ffff)
}
