//! What a test of the cluster starts with: the running cluster, a namespace of its own, waits that tell what they
//! waited for. A test that fails prints its namespace's objects, events and logs.
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
    cluster::{Cluster, DEFAULT_NAME},
    http::Trust,
    page,
};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

/// Environment variable that names the cluster that tests use: `cargo xtask test` sets it.
pub const CLUSTER_VARIABLE: &str = "ACME_OPERATOR_CLUSTER";

/// Environment variable that keeps the namespaces of tests, for a look afterwards.
pub const KEEP_VARIABLE: &str = "ACME_OPERATOR_KEEP";

/// How long a state may take to come, unless a test says otherwise.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// How long a controller must do nothing to have done all it had to: longer than any pause between two of its steps.
pub const QUIET: Duration = Duration::from_secs(3);

/// How often activity is counted while [`await_quiet`] waits.
const QUIET_POLL: Duration = Duration::from_millis(500);

/// The running cluster that tests share: the one named by `$ACME_OPERATOR_CLUSTER`, else the one that
/// `cargo xtask cluster up` started. It lives at least as long as this process.
pub fn cluster() -> Result<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    CLUSTER
        .get_or_init(|| {
            let name = env::var(CLUSTER_VARIABLE).unwrap_or_else(|_| DEFAULT_NAME.to_owned());
            Cluster::attach(&name).map_err(|error| format!("{error:#}"))
        })
        .as_ref()
        .map_err(|error| anyhow!("tests of the cluster need one: {error}"))
}

/// What all tests of a program share and start once, in whichever comes first.
///
/// # Errors
/// It did not start, the same for all of them.
pub fn start_once<T: Send + Sync + 'static>(
    cell: &'static OnceLock<Result<T, String>>,
    start: impl AsyncFnOnce() -> Result<T> + Send + 'static,
) -> Result<&'static T> {
    let start = move || -> Result<T> { tokio::runtime::Runtime::new()?.block_on(start()) };
    cell
        // A runtime can't be started inside the one of a test.
        .get_or_init(|| {
            std::thread::spawn(move || start().map_err(|error| format!("{error:#}")))
                .join()
                .unwrap_or_else(|_| Err("the start panicked".into()))
        })
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}

/// A namespace of a test, gone when the test ends.
#[derive(Clone)]
pub struct Namespace {
    cluster: &'static Cluster,
    client: kube::Client,
    name: String,
}

/// Makes a namespace.
///
/// # Errors
/// There is one of the name, among others.
pub async fn create_namespace(client: &kube::Client, name: &str) -> Result<()> {
    let object = NamespaceObject {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..NamespaceObject::default()
    };
    let namespaces = Api::all(client.clone());
    let created = namespaces.create(&PostParams::default(), &object).await;
    created.map(drop).with_context(|| format!("failed to create {name}"))
}

/// Runs a test in a fresh namespace of the shared cluster. If it fails, by error or panic, what is in the namespace
/// is printed. The namespace is deleted in any case, unless `$ACME_OPERATOR_KEEP` is set.
pub async fn with_namespace(prefix: &str, test: impl AsyncFnOnce(&Namespace) -> Result<()>) -> Result<()> {
    let cluster = cluster()?;
    let client = cluster.client().await?;
    let name = unique(prefix);
    let namespaces: Api<NamespaceObject> = Api::all(client.clone());
    create_namespace(&client, &name).await?;
    let namespace = Namespace { cluster, client, name };
    // Pods are refused until the namespace has its ServiceAccount.
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
        eprintln!("the namespace {} is kept", namespace.name);
    } else if namespaces.get_opt(&namespace.name).await?.is_some() {
        namespaces.delete(&namespace.name, &DeleteParams::background()).await?;
    }
    outcome.unwrap_or_else(|panic: Box<dyn Any + Send>| std::panic::resume_unwind(panic))
}

impl Namespace {
    /// The cluster it is in.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// A client with all rights.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its objects of a kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// `kubectl apply` of YAML that names no namespace.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.cluster.apply_in(Some(&self.name), manifests).await
    }

    /// A Pod that serves a page under `host` through Traefik, with its Service and Ingress, all called `name`.
    pub async fn serve_page(&self, name: &str, host: &str) -> Result<()> {
        page::serve_page(self.cluster, &self.name, name, host).await?;
        self.await_pod(name).await
    }

    /// Waits until a Pod runs.
    pub async fn await_pod(&self, name: &str) -> Result<()> {
        await_condition(self.api::<Pod>(), name, "run", TIMEOUT, is_pod_running()).await.map(drop)
    }

    /// Waits until a page is served, and returns it.
    pub async fn await_page(&self, url: &str) -> Result<String> {
        page::await_page(self.cluster, url, &Trust::Nothing, TIMEOUT).await
    }

    /// Runs a command in a Pod's first container; returns its standard output.
    ///
    /// # Errors
    /// The command did not exit with 0; the message has what it printed.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let mut kubectl = self.cluster.kubectl();
        let output =
            kubectl.args(["--namespace", &self.name, "exec", pod, "--"]).args(command).output().await?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("{command:?} in the Pod {pod:?} failed: {printed}{error}");
        }
        Ok(printed)
    }

    /// Objects, events and logs, as text for a person. Never what is in a Secret.
    pub async fn dump(&self) -> String {
        let mut text = format!("--- what is in the namespace {} ---\n", self.name);
        let kinds = self.kubectl(&["api-resources", "--verbs=list", "--namespaced", "--output=name"]).await;
        // Events come below, in order; Endpoints are deprecated and say so each time.
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
        let output = self.cluster.kubectl().args(["--namespace", &self.name]).args(arguments).output().await;
        output.map_or_else(
            |error| format!("kubectl did not start: {error}\n"),
            |output| {
                let error = String::from_utf8_lossy(&output.stderr);
                format!("{}{error}", String::from_utf8_lossy(&output.stdout))
            },
        )
    }
}

/// Applies our six definitions the way people do, and waits until they are established. Returns what kubectl said.
pub async fn install_definitions(cluster: &Cluster) -> Result<String> {
    // Two at once would both find that there is nothing yet.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _guard = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir()?;
    for file in crds::generate::custom_resource_definitions()? {
        std::fs::write(folder.path().join(file.name), file.content)?;
    }
    let mut said = String::new();
    for verb in [&["apply"][..], &["wait", "--for=condition=Established", "--timeout=30s"]] {
        let output = cluster.kubectl().args(verb).arg("--filename").arg(folder.path()).output().await?;
        let printed =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "kubectl {verb:?} failed: {printed}");
        said += &printed;
    }
    Ok(said)
}

/// Waits until all definitions of a cluster are established.
pub async fn await_definitions(cluster: &Cluster) -> Result<()> {
    let wait = ["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"];
    let output = cluster.kubectl().args(wait).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the definitions are not established: {said}");
    Ok(())
}

/// Waits until `activity` returns the same count for as long as `quiet`. `None` means that there is nothing to count yet:
/// it is never quiet.
///
/// # Errors
/// `limit` is over; the message says that `who` is still active.
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
            "{who} was not quiet for {} s within {} s",
            quiet.as_secs(),
            limit.as_secs()
        );
        sleep(QUIET_POLL).await;
    }
}

/// Asserts that something stays true for as long as `period`, for what must not happen. `what` completes "it did not stay
/// true that …".
///
/// # Errors
/// `check` failed, which is called several times.
pub async fn assert_stays(what: &str, period: Duration, check: impl AsyncFn() -> Result<()>) -> Result<()> {
    const CHECKS: u32 = 10;
    for _ in 0..CHECKS {
        sleep(period / CHECKS).await;
        check().await.with_context(|| format!("it did not stay true that {what}"))?;
    }
    Ok(())
}

/// Waits until an object, or its absence, meets a condition; returns it as it was then. `what` completes "waited for
/// … to …".
///
/// # Errors
/// The time is over; the message shows the object as it stands.
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
        // What a Secret holds is nobody's to print.
        fields.remove("data");
        fields.remove("stringData");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    bail!(
        "waited {} s for {} {name:?} to {what}; it is\n{}",
        limit.as_secs(),
        K::kind(&K::DynamicType::default()),
        serde_saphyr::to_string(&object)?
    )
}

/// A name that no other test has: tests of one process differ by a counter in time, processes by their id.
fn unique(prefix: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{prefix}-{:x}-{:x}", std::process::id(), nanos & 0xff_ffff_ffff)
}
