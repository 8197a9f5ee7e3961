//! What the process does between its start and its end: listens, waits until it is the leader, runs the controllers until a signal asks
//! it to stop, and hands over.
//!
//! Knows the order; must not parse flags. Next: `controllers/watches.rs` for the controllers, `leadership.rs` for the Lease.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::Arguments,
    clock::SystemClock,
    context::{Context, Settings},
    controllers,
    k8s::{self, Contact},
    leadership::Leadership,
    metrics::{Metrics, Scrapes},
    net::Proxy,
    server::{self, Readiness},
    watchdog,
};

/// How to connect to the API server: directly.
///
/// # Errors
/// There is no valid configuration, or it has a proxy.
pub async fn configure(arguments: &Arguments) -> Result<Config> {
    let (mut config, file) = match &arguments.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            let config = Config::from_custom_kubeconfig(file.clone(), &KubeConfigOptions::default()).await?;
            (config, Some(file))
        }
        None => (Config::infer().await?, Kubeconfig::read().ok()),
    };
    if file.as_ref().and_then(proxy_url).is_some() {
        bail!(
            "the kubeconfig file has a proxy-url, but the API server can only be connected to directly: remove it"
        );
    }
    // kube takes the proxy of the environment if there is a kubeconfig file. It is for ACME servers.
    config.proxy_url = None;
    if !arguments.master.is_empty() {
        let url = &arguments.master;
        config.cluster_url =
            url.parse().with_context(|| format!("--master is {url:?}, which is not a URL"))?;
    }
    Ok(config)
}

/// The proxy of the cluster that a kubeconfig file selects, if it has one.
fn proxy_url(file: &Kubeconfig) -> Option<&str> {
    let current = file.current_context.as_ref()?;
    let context = file.contexts.iter().find(|it| it.name == *current)?.context.as_ref()?;
    let cluster = file.clusters.iter().find(|it| it.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.as_deref().filter(|url| !url.is_empty())
}

/// Waits for leadership, if there is an election, and runs the controllers. Returns why they stopped, unless a signal asked for it.
///
/// # Errors
/// The process can't start: a port is in use, or the configuration of a client is invalid.
pub async fn run(
    arguments: &Arguments,
    config: Config,
    contact: Contact,
    leadership: Option<&mut Leadership>,
) -> Result<Option<&'static str>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    watchdog::start()?;
    let client =
        k8s::connect(config, contact.clone()).context("failed to configure the Kubernetes client")?;
    let metrics = Metrics::new(Arc::new(SystemClock));
    let readiness = Readiness::default();
    let health_router = server::health_router(readiness.clone(), contact);
    server::serve(arguments.healthz_listen_address, health_router).await?;
    let observer = metrics.acme_observer();
    let settings = Settings { proxy: Proxy::from_environment()?, ..arguments.settings() };
    let context = Arc::new(Context::new(client, Arc::new(SystemClock), settings, observer)?);
    let waiting = Arc::clone(&context);
    metrics.set_waiting_orders(move || waiting.accounts.waiting_orders(waiting.now()));
    let scrapes =
        Scrapes::new(metrics.clone(), Arc::clone(&context.cache), arguments.enable_certificate_metrics);
    server::serve(arguments.metrics_listen_address, server::metrics_router(scrapes)).await?;
    let work = async {
        if let Some(leadership) = leadership {
            readiness.set(true);
            leadership.won().await;
            tracing::info!("became the leader");
            readiness.set(false);
        }
        metrics.set_leader(true);
        controllers::start(Arc::clone(&context), metrics, || readiness.set(true)).await;
    };
    let stop_reason = tokio::select! {
        () = work => Some("the controllers stopped"),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    // The controllers have stopped, and the Lease is still held.
    controllers::hand_over(&context).await;
    Ok(stop_reason)
}
