//! Starts a cluster: writes its files, then starts each program as soon as the programs that it needs are ready. Every
//! wait is for a state and has a limit. When it fails, the error has the log of the program that did not get there.
//! Knows nothing about what is tested. Next: `cluster/plan.rs` for the programs, `cluster/config.rs` for their files.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    net::TcpListener,
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use nix::unistd;
use serde_json::to_vec_pretty;
use tokio::time::sleep;
use xtask::{image::Image, paths, progress::Steps};

use crate::{
    cluster::{
        API_SERVICE_ADDRESS, Cluster, ClusterState, DNS_SERVICE_ADDRESS, IngressController, Layout, Mode,
        NODE_ADDRESS, NODE_NAME, Network, Options, TRAEFIK, config,
        control::Connection,
        plan::Plan,
        registry::{self, ADMIN_KUBECONFIG, RECORD, Record},
        remove, state_of, supervisor,
    },
    ingress::{self, contour, istio, nginx, traefik},
    network, page, pebble,
    pki::Authority,
    tools::{self, Tool, Tools, host},
};

/// The limit of each wait. A machine with a cold cache and a busy disk is slow, not broken.
const TIMEOUT: Duration = Duration::from_mins(2);

/// The time between two checks of a state.
const POLL: Duration = Duration::from_millis(50);

/// Starts a cluster, and waits until its node is ready, if it has one, and the ingress controller answers.
/// The cluster runs as long as the returned handle.
///
/// # Errors
/// One paragraph that says what to do. After an error, nothing is left of the cluster.
pub async fn start(options: &Options, tools: &Tools, steps: &Steps) -> Result<Cluster> {
    check(options)?;
    prepare_host(options.mode, options.network, steps).await?;
    let step = steps.begin("starting the namespaces", None);
    let cluster = claim(options, tools).await?;
    step.done("");
    match bring_up(&cluster, options, steps).await {
        Ok(()) => Ok(cluster),
        Err(error) => {
            let end = cluster.end();
            Err(match end {
                Ok(()) => error,
                Err(end) => error.context(format!("failed to remove the cluster, too: {end:#}")),
            })
        }
    }
}

/// Checks that the options fit together.
///
/// # Errors
/// They don't; the message says what to do.
pub fn check(options: &Options) -> Result<()> {
    ensure!(
        options.network == Network::Bridge || options.mode == Mode::Node,
        "{} connects Pods, which need a node: leave out `--control-plane-only` or `--network`",
        options.network.name()
    );
    let name = options.ingress.name();
    if options.ingress == IngressController::Traefik {
        return Ok(());
    }
    ensure!(
        !(options.gateway_api && options.ingress.gateway_class().is_empty()),
        "{name} serves no Gateways: leave out `--gateway-api`, or choose another `--ingress`"
    );
    ensure!(
        options.mode == Mode::Node,
        "{name} runs in Pods, which need a node: leave out `--control-plane-only`, or use Traefik"
    );
    Ok(())
}

/// Checks that this user may start such a cluster, and installs missing programs of the operating system. [`start`]
/// does the same, but after [`Tools::ensure`]: call this before, so that users don't wait for a build to get an error.
///
/// # Errors
/// One paragraph that says what to do.
pub async fn prepare_host(mode: Mode, network: Network, steps: &Steps) -> Result<()> {
    if mode == Mode::Node && !unistd::geteuid().is_root() {
        bail!(
            "a cluster with a node needs root to run containers: run the command as root, or add \
             `--control-plane-only` for a cluster without a node, in which programs run as plain processes"
        );
    }
    let needs = if mode == Mode::Node { host::NODE } else { host::CONTROL_PLANE };
    host::ensure(needs, steps).await?;
    host::ensure(network.programs(), steps).await
}

/// The tools that a cluster needs, including kubectl.
pub fn tools_for(options: &Options) -> Vec<Tool> {
    let node = if options.mode == Mode::Node { tools::NODE } else { &[] };
    [tools::CONTROL_PLANE, node, options.ingress.tools(), options.network.tools()].concat()
}

/// Creates the cluster's folder, which reserves its name, and starts the supervisor.
async fn claim(options: &Options, tools: &Tools) -> Result<Cluster> {
    let name = &options.name;
    let layout = registry::layout_of(name)?;
    fs::create_dir_all(paths::clusters()?)?;
    if let Err(error) = fs::create_dir(layout.root()) {
        match state_of(name)? {
            ClusterState::Running => bail!(
                "a cluster named {name:?} is already running: use it, remove it with {}, or choose another name",
                registry::command("down", name)
            ),
            ClusterState::Stale => bail!(registry::stale(name)),
            ClusterState::Absent => {
                return Err(error).with_context(|| format!("failed to create {}", layout.root().display()));
            }
        }
    }
    let claimed = supervise(options, tools, &layout).await;
    if claimed.is_err() {
        remove(name)?;
    }
    claimed
}

async fn supervise(options: &Options, tools: &Tools, layout: &Layout) -> Result<Cluster> {
    for folder in ["log", "images", "cni", "pki", "kubeconfig"] {
        fs::create_dir_all(layout.path(folder))?;
    }
    let log = File::options().create(true).append(true).read(true).open(layout.supervisor_log())?;
    log.lock()?;
    let port = options.relay_port.unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
        anyhow::anyhow!(
            "failed to listen on port {port} of 127.0.0.1 for the cluster's relay: {error}. Choose another port with \
             `--relay-port`, or leave out this flag to use any free port"
        )
    })?;
    let record = Record {
        name: options.name.clone(),
        mode: options.mode,
        network: options.network,
        relay: listener.local_addr()?,
        ingress: options.ingress,
        gateway_api: options.gateway_api,
        ingress_class: options.ingress_class.clone(),
    };
    let parameters = supervisor::Parameters {
        name: options.name.clone(),
        mode: options.mode,
        state: layout.root().to_owned(),
        cache: paths::cache()?,
    };
    let mut guard = supervisor::start(&parameters, listener, &log)?;
    let lease = connect(layout, &mut guard, log).await?;
    // Reaps the guard, so that it doesn't stay as a zombie while this process runs.
    std::thread::spawn(move || guard.wait());
    fs::write(layout.path(RECORD), serde_json::to_vec(&record)?)?;
    Ok(Cluster::new(record, layout.clone(), tools.clone(), lease))
}

/// Waits for the supervisor to answer. If it ends instead, the error says why.
async fn connect(layout: &Layout, guard: &mut Child, mut log: File) -> Result<Connection> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Ok(connection) = Connection::open(&layout.control_socket()) {
            return Ok(connection);
        }
        let ended = guard.try_wait()?;
        if ended.is_some() || Instant::now() > deadline {
            let mut logged = String::new();
            log.rewind()?;
            log.read_to_string(&mut logged)?;
            if logged.contains("unshare failed") {
                bail!(
                    "this system doesn't let this user create namespaces ({}). On Ubuntu 24.04 and newer, allow it \
                     with `sysctl kernel.apparmor_restrict_unprivileged_userns=0`. Elsewhere, check that \
                     /proc/sys/user/max_user_namespaces is not 0. In a container, run it privileged. Or run as root",
                    logged.lines().find(|line| line.contains("unshare failed")).unwrap_or_default()
                );
            }
            bail!("failed to start the cluster's supervisor; its log is\n{}", logged.trim());
        }
        sleep(POLL).await;
    }
}

async fn bring_up(cluster: &Cluster, options: &Options, steps: &Steps) -> Result<()> {
    let inside = Layout::inside();
    let tools = Tools::seen_at(Layout::cache_inside());
    let plan = Plan { tools: &tools, layout: &inside };
    let node = options.mode == Mode::Node;

    let step = steps.begin("writing certificates and configuration", None);
    write_files(cluster, options, &inside)?;
    step.done("");

    let step = steps.begin("starting the control plane", Some(Duration::from_secs(6)));
    for process in [plan.etcd(), plan.kube_apiserver(&options.api_server_flags), plan.challtestsrv()] {
        cluster.start(process)?;
    }
    if node {
        cluster.start(plan.containerd())?;
    }
    let client = cluster.client().await?;
    wait(cluster, "the API server to be ready", "kube-apiserver", async || {
        let request = http_get("/readyz")?;
        Ok(client.request_text(request).await.is_ok_and(|answer| answer == "ok").then_some(()))
    })
    .await?;
    for process in [plan.kube_controller_manager(), plan.kube_scheduler(), plan.coredns()] {
        cluster.start(process)?;
    }
    pebble::start_in_cluster(cluster)?;
    cluster.apply(&manifests()).await?;
    step.done(format!("Kubernetes {}", client.apiserver_version().await?.git_version));

    if node {
        let step = steps.begin("importing images", Some(Duration::from_secs(6)));
        wait(cluster, "containerd to answer", "containerd", async || {
            let mut check = Plan::import("");
            check.arguments = ["--address", config::CONTAINERD_SOCKET, "version"].map(Into::into).into();
            Ok(cluster.run(check).await?.success.then_some(()))
        })
        .await?;
        for process in [plan.kubelet(), plan.kube_proxy()] {
            cluster.start(process)?;
        }
        for image in images(cluster.tools()) {
            let archive = archive(&image)?;
            let relative = archive.strip_prefix(paths::cache()?)?;
            cluster.import(&Layout::cache_inside().join(relative).to_string_lossy()).await?;
        }
        step.done("");
        if options.network != Network::Bridge {
            let name = options.network.name();
            let step = steps.begin(format!("starting {name}"), Some(Duration::from_secs(20)));
            step.done(network::start(cluster, options.network).await?);
        }
        let step = steps.begin("waiting for the node", Some(Duration::from_secs(12)));
        let nodes: Api<Node> = Api::all(client.clone());
        wait(cluster, "the node to be ready", "kubelet", async || {
            let node = nodes.get_opt(NODE_NAME).await?;
            Ok(node.as_ref().is_some_and(is_ready).then_some(()))
        })
        .await?;
        step.done("");
    }
    start_ingress(cluster, options, steps).await?;
    let step = steps.begin("waiting for DNS", None);
    wait(cluster, "names under example.test to resolve", "coredns", async || {
        Ok(cluster.dial("pebble.example.test", pebble::CLUSTER_PORT).await.ok())
    })
    .await?;
    step.done("");
    Ok(())
}

async fn start_ingress(cluster: &Cluster, options: &Options, steps: &Steps) -> Result<()> {
    let usual = if options.ingress == IngressController::Traefik { 6 } else { 30 };
    let step = steps.begin(format!("starting {}", options.ingress.name()), Some(Duration::from_secs(usual)));
    match options.ingress {
        IngressController::Traefik => {
            traefik::start(cluster, options).await?;
            let is_up = async || Ok(traefik::is_up(cluster).await.then_some(()));
            wait(cluster, "Traefik to answer", TRAEFIK, is_up).await?;
        }
        IngressController::Istio => istio::start(cluster, options.gateway_api).await?,
        IngressController::Contour => contour::start(cluster, options.gateway_api).await?,
        IngressController::IngressNginx => nginx::start(cluster).await?,
    }
    step.done("");
    Ok(())
}

/// Waits for a state. Fails when the program that should reach it has ended, or after [`TIMEOUT`].
pub(crate) async fn wait<T>(
    cluster: &Cluster,
    what: &str,
    process: &str,
    mut check: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let error = match check().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => String::new(),
            Err(error) => format!("; the last check failed: {error:#}"),
        };
        let ended = cluster
            .processes()?
            .into_iter()
            .find(|status| status.name == process)
            .and_then(|status| status.ended);
        if let Some(ended) = ended {
            bail!(
                "waited for {what}, but {process} ended ({ended}). Its log ends with\n{}",
                cluster.log_tail(process, 15)
            );
        }
        if Instant::now() > deadline {
            bail!(
                "waited {} s for {what}{error}. The log of {process} ends with\n{}",
                TIMEOUT.as_secs(),
                cluster.log_tail(process, 15)
            );
        }
        sleep(POLL).await;
    }
}

fn write_files(cluster: &Cluster, options: &Options, inside: &Layout) -> Result<()> {
    let layout = cluster.layout();
    let authority = Authority::new("testbed")?;
    let pki =
        |name: &str, content: &str| write_private(&layout.path(&format!("pki/{name}")), content.as_bytes());
    pki("ca.crt", authority.certificate())?;

    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    let addresses = [NODE_ADDRESS, API_SERVICE_ADDRESS, loopback].map(Into::into);
    // The API server also presents this certificate to the kubelet, so the name must be a user that the kubelet
    // accepts.
    let server = authority.server("kube-apiserver-kubelet-client", &names, &addresses)?;
    pki("kube-apiserver.crt", &server.certificate)?;
    pki("kube-apiserver.key", &server.key)?;
    let kubelet = authority.server(NODE_NAME, &[NODE_NAME], &[NODE_ADDRESS.into()])?;
    pki("kubelet.crt", &kubelet.certificate)?;
    pki("kubelet.key", &kubelet.key)?;
    let service_accounts = authority.client("service-accounts", None)?;
    pki("service-account.crt", &service_accounts.certificate)?;
    pki("service-account.key", &service_accounts.key)?;

    let node_user = format!("system:node:{NODE_NAME}");
    let network = options.network.user().map(|(file, user)| (file, user, Some("system:serviceaccounts")));
    let users = [
        ("admin", "admin", Some("system:masters")),
        ("coredns", "system:coredns", None),
        ("kube-controller-manager", "system:kube-controller-manager", None),
        ("kube-proxy", "system:kube-proxy", None),
        ("kube-scheduler", "system:kube-scheduler", None),
        ("kubelet", node_user.as_str(), Some("system:nodes")),
        (TRAEFIK, ingress::USER, Some("system:serviceaccounts")),
    ];
    for (file, user, group) in users.into_iter().chain(network) {
        let identity = authority.client(user, group)?;
        let content = config::kubeconfig(authority.certificate(), &identity, None)?;
        write_private(&layout.kubeconfig(file), content.as_bytes())?;
        if file == "admin" {
            let relay = cluster.relay().to_string();
            let content = config::kubeconfig(authority.certificate(), &identity, Some(&relay))?;
            write_private(&layout.path(ADMIN_KUBECONFIG), content.as_bytes())?;
        }
    }

    let plugins = network::install_plugins(options.network, layout)?;
    let write = |name: &str, content: &[u8]| {
        fs::write(layout.path(name), content).with_context(|| format!("failed to write {name}"))
    };
    write("audit-policy.json", &to_vec_pretty(&config::audit_policy())?)?;
    write("Corefile", config::corefile(inside).as_bytes())?;
    write("containerd.toml", config::containerd(inside, &plugins).as_bytes())?;
    write("cni/10-testbed.conflist", &to_vec_pretty(&network::plugins(options.network, inside))?)?;
    write("kubelet.json", &to_vec_pretty(&config::kubelet(&options.name, inside))?)?;
    write("kube-proxy.json", &to_vec_pretty(&config::kube_proxy(inside))?)?;
    Ok(())
}

/// Writes a file that only this user may read, such as a key or a kubeconfig.
fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("failed to write {}", path.display()))
}

/// The objects of every cluster: its RBAC rules, and `kube-dns` with the address that is in the Pods' resolv.conf.
fn manifests() -> String {
    include_str!("../manifests/cluster.yaml")
        .replace("$DNS_SERVICE_ADDRESS", &DNS_SERVICE_ADDRESS.to_string())
        .replace("$NODE_ADDRESS", &NODE_ADDRESS.to_string())
}

/// The images on every node.
fn images(tools: &Tools) -> [Image; 3] {
    let agnhost = tools.path(Tool::Agnhost);
    let mut pause = Image::new(config::PAUSE_IMAGE, &agnhost, xtask::image::NON_ROOT);
    pause.entrypoint.push("pause".to_owned());
    [
        pause,
        Image::new(page::AGNHOST_IMAGE, &agnhost, ""),
        Image::new(ingress::IMAGE, tools.path(Tool::Traefik), ""),
    ]
}

/// The archive of a tool's image, which is written once, next to the tool.
fn archive(image: &Image) -> Result<std::path::PathBuf> {
    let name = image.reference.rsplit('/').next().unwrap_or_default().replace(':', "-");
    let archive = image.files[0].source.with_file_name(format!("{name}.tar"));
    if !archive.exists() {
        image.write(&archive)?;
    }
    Ok(archive)
}

fn http_get(path: &str) -> Result<hyper::Request<Vec<u8>>> {
    Ok(hyper::Request::get(path).body(Vec::new())?)
}

fn is_ready(node: &Node) -> bool {
    node.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
