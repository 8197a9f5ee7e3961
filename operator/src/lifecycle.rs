//! What the process does between its start and its end: listens, waits until it is the leader, runs the controllers until a signal asks
//! it to stop, and hands over.
//!
//! Knows the order; must not parse flags. Next: `controllers/watches.rs` for the controllers, `leadership.rs` for the Lease.

use std::{env, sync::Arc};

use anyhow::{Context as _, Result};
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

/// How to connect to the API server.
///
/// # Errors
/// There is no valid configuration.
pub async fn configure(arguments: &Arguments) -> Result<Config> {
    let mut config = match &arguments.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await?,
    };
    // kube takes the proxy of the environment if there is a kubeconfig file. It is for ACME servers.
    let variables = ["HTTPS_PROXY", "https_proxy"];
    let of_environment = variables.iter().find_map(|name| env::var(name).ok()?.parse().ok());
    config.proxy_url = config.proxy_url.filter(|url| Some(url) != of_environment.as_ref());
    if !arguments.master.is_empty() {
        let url = &arguments.master;
        config.cluster_url =
            url.parse().with_context(|| format!("--master is {url:?}, which is not a URL"))?;
    }
    Ok(config)
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
