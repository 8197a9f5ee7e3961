//! `cargo xtask cluster`, and the arguments of every command that starts a cluster.
//! Knows the command line, and nothing about how a cluster works. Next: `bring_up.rs`.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use xtask::progress::Steps;

use crate::{
    bring_up,
    cluster::{self, Cluster, ClusterState, DEFAULT_NAME, IngressController, Mode, Network, Options},
    tools::{Tool, Tools},
};

/// The subcommands of `cargo xtask cluster`.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Starts a cluster, which runs until `down`.
    Up(ClusterArguments),
    /// Stops a cluster and removes all traces of it, even if it was killed.
    Down(Name),
    /// Lists the clusters, and the programs that run in one of them.
    Status(Name),
    /// Runs kubectl on a cluster, as an administrator.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// The cluster.
        #[command(flatten)]
        name: Name,
        /// The arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Prints the log of a program in a cluster, such as kube-apiserver or pebble. Without a program, lists the programs.
    Logs {
        /// The cluster.
        #[command(flatten)]
        name: Name,
        /// The name of the program.
        program: Option<String>,
        /// The number of lines, counted from the end.
        #[arg(long, default_value_t = 100)]
        lines: usize,
    },
}

/// The cluster that a command applies to.
#[derive(Args, Debug)]
pub struct Name {
    /// The name of the cluster.
    #[arg(long, default_value = DEFAULT_NAME)]
    pub name: String,
}

/// The cluster to start.
#[derive(Args, Debug)]
pub struct ClusterArguments {
    /// The name of the cluster.
    #[command(flatten)]
    pub name: Name,
    /// Start no node: needs no root, but the cluster can't run Pods.
    #[arg(long)]
    pub control_plane_only: bool,
    /// The loopback port of the SOCKS relay into the cluster [default: any free port].
    #[arg(long)]
    pub relay_port: Option<u16>,
    /// The network of Pods. Cilium and Flannel are built on first use, which takes minutes.
    #[arg(long, value_enum, default_value_t)]
    pub network: Network,
    /// What serves Ingresses or Gateways. All but Traefik are built on first use, which takes minutes.
    #[arg(long, value_enum, default_value_t)]
    pub ingress: IngressController,
    /// The class of the Ingresses that are served.
    #[arg(long, default_value = "nginx")]
    pub ingress_class: String,
    /// Install the CRDs of the Gateway API, and serve Gateways of the class "traefik", "istio", or "contour". Istio and Contour then serve
    /// no Ingresses.
    #[arg(long)]
    pub gateway_api: bool,
    /// Let Traefik apply changes ten times a second, not every two seconds (providers.providersThrottleDuration).
    #[arg(long)]
    pub fast_traefik: bool,
}

impl ClusterArguments {
    /// The options for [`bring_up::start`].
    pub fn options(&self) -> Options {
        let mode = if self.control_plane_only { Mode::ControlPlane } else { Mode::Node };
        let ingress_class = self.ingress_class.clone();
        let (relay_port, ingress, network) = (self.relay_port, self.ingress, self.network);
        let (gateway_api, fast_traefik) = (self.gateway_api, self.fast_traefik);
        let others = Options::new(&self.name.name, mode);
        Options { network, relay_port, ingress, ingress_class, gateway_api, fast_traefik, ..others }
    }
}

/// Runs a subcommand, and prints its results to standard output.
pub async fn run(task: Task, steps: &Steps) -> Result<()> {
    match task {
        Task::Up(arguments) => {
            let options = arguments.options();
            bring_up::check(&options)?;
            bring_up::prepare_host(options.mode, options.network, steps).await?;
            let mut needed = bring_up::tools_for(&options);
            // It pins the version of the CRDs.
            needed.extend(options.gateway_api.then_some(Tool::CertManager));
            let tools = Tools::ensure(&needed, steps).await?;
            let cluster = bring_up::start(&options, &tools, steps).await?;
            cluster.keep()?;
            steps.summary(&format!("the cluster {:?}", cluster.name()));
            print_next_steps(&cluster);
            Ok(())
        }
        Task::Down(Name { name }) => {
            match cluster::remove(&name)? {
                ClusterState::Absent => println!("there is no cluster named {name:?}"),
                ClusterState::Running => println!("the cluster {name:?} is stopped and removed"),
                ClusterState::Stale => println!("the cluster {name:?} was killed: its files are removed"),
            }
            Ok(())
        }
        Task::Status(Name { name }) => status(&name),
        Task::Kubectl { name: Name { name }, arguments } => {
            let status = Cluster::attach(&name)?.kubectl().args(arguments).status().await?;
            if !status.success() {
                bail!("kubectl failed: {status}");
            }
            Ok(())
        }
        Task::Logs { name: Name { name }, program, lines } => {
            let cluster = Cluster::attach(&name)?;
            if let Some(program) = program {
                println!("{}", cluster.log_tail(&program, lines));
                return Ok(());
            }
            for process in cluster.processes()? {
                println!("{}", process.name);
            }
            println!("supervisor");
            Ok(())
        }
    }
}

/// Prints commands that a user may want to run next.
pub fn print_next_steps(cluster: &Cluster) {
    let kubeconfig = cluster.kubeconfig();
    let name =
        if cluster.name() == DEFAULT_NAME { String::new() } else { format!(" --name {}", cluster.name()) };
    println!(
        "\nInspect it:     cargo xtask cluster kubectl{name} get pods --all-namespaces\n\
         Your own tools: export KUBECONFIG={}\n\
         Its network:    curl --proxy socks5h://{} http://<name>.example.test/ (or set it as a browser's SOCKS proxy)\n\
         Remove it:      cargo xtask cluster down{name}",
        kubeconfig.display(),
        cluster.relay()
    );
}

fn status(name: &str) -> Result<()> {
    let names = cluster::names()?;
    if names.is_empty() {
        println!("there are no clusters");
    }
    for other in &names {
        println!("{other}: {:?}", cluster::state_of(other)?);
    }
    if cluster::state_of(name)? == ClusterState::Running {
        let cluster = Cluster::attach(name)?;
        println!("\n{name} ({:?}), relay {}", cluster.mode(), cluster.relay());
        for process in cluster.processes()? {
            println!("  {:<24} {}", process.name, process.ended.as_deref().unwrap_or("running"));
        }
    }
    Ok(())
}
