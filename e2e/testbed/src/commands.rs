//! `cargo xtask cluster`, and the arguments of every command that starts a cluster.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use xtask::progress::Steps;

use crate::{
    bring_up,
    cluster::{self, Cluster, ClusterState, DEFAULT_NAME, Mode, Options},
    tools::Tools,
};

/// What `cargo xtask cluster` can do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Starts a cluster that lives until `down`.
    Up(ClusterArguments),
    /// Ends a cluster and removes everything of it, also of one that was killed.
    Down(Name),
    /// Tells which clusters there are, and what runs in one.
    Status(Name),
    /// Runs kubectl against a cluster, with all rights.
    #[command(disable_help_flag = true)]
    Kubectl {
        /// Which cluster.
        #[command(flatten)]
        name: Name,
        /// What kubectl gets.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Shows the log of a program of a cluster, such as kube-apiserver or pebble; without one, their names.
    Logs {
        /// Which cluster.
        #[command(flatten)]
        name: Name,
        /// The program.
        program: Option<String>,
        /// How many lines.
        #[arg(long, default_value_t = 100)]
        lines: usize,
    },
}

/// Which cluster a command is about.
#[derive(Args, Debug)]
pub struct Name {
    /// The cluster's name.
    #[arg(long, default_value = DEFAULT_NAME)]
    pub name: String,
}

/// What cluster to start.
#[derive(Args, Debug)]
pub struct ClusterArguments {
    /// Its name.
    #[command(flatten)]
    pub name: Name,
    /// No node, so no Pods: works without root.
    #[arg(long)]
    pub control_plane_only: bool,
    /// Loopback port of the SOCKS relay into the cluster; any free one if not given.
    #[arg(long)]
    pub relay_port: Option<u16>,
    /// The class of the Ingresses that Traefik serves.
    #[arg(long, default_value = "nginx")]
    pub ingress_class: String,
}

impl ClusterArguments {
    /// The same for [`bring_up::start`].
    pub fn options(&self) -> Options {
        let mode = if self.control_plane_only { Mode::ControlPlane } else { Mode::Node };
        let ingress_class = self.ingress_class.clone();
        Options { relay_port: self.relay_port, ingress_class, ..Options::new(&self.name.name, mode) }
    }
}

/// Runs a command, and prints what it found on standard output.
pub async fn run(task: Task, steps: &Steps) -> Result<()> {
    match task {
        Task::Up(choice) => {
            let options = choice.options();
            bring_up::prepare_host(options.mode, steps).await?;
            let tools = Tools::ensure(&bring_up::tools_for(options.mode), steps).await?;
            let cluster = bring_up::start(&options, &tools, steps).await?;
            cluster.keep()?;
            steps.summary(&format!("the cluster {:?}", cluster.name()));
            print_next_steps(&cluster);
            Ok(())
        }
        Task::Down(Name { name }) => {
            match cluster::remove(&name)? {
                ClusterState::Absent => println!("there was no cluster named {name:?}"),
                ClusterState::Running => {
                    println!("the cluster {name:?} has ended, and nothing is left of it")
                }
                ClusterState::Stale => {
                    println!("what a killed run had left of the cluster {name:?} is removed")
                }
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

/// Prints what someone may want to do next.
pub fn print_next_steps(cluster: &Cluster) {
    let kubeconfig = cluster.kubeconfig();
    let name =
        if cluster.name() == DEFAULT_NAME { String::new() } else { format!(" --name {}", cluster.name()) };
    println!(
        "\nLook around:    cargo xtask cluster kubectl{name} get pods --all-namespaces\n\
         Your own tools: export KUBECONFIG={}\n\
         Its network:    curl --proxy socks5h://{} http://<name>.example.test/ (a browser's SOCKS proxy works too)\n\
         Remove it:      cargo xtask cluster down{name}",
        kubeconfig.display(),
        cluster.relay()
    );
}

fn status(name: &str) -> Result<()> {
    let names = cluster::names()?;
    if names.is_empty() {
        println!("there is no cluster");
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
