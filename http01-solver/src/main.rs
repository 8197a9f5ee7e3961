//! The `http01-solver` binary: arguments, logs, listeners, shutdown.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use crds::http01::SOLVER_PORT;
use http01_solver::{MAX_CONNECTIONS, Metrics, Tokens, answer_health_checks};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};
use tracing_subscriber::EnvFilter;

/// Open connections for probes, and for scrapes.
const MAX_HEALTH_CONNECTIONS: usize = 32;

/// Answers the HTTP-01 challenges of all Certificates in a cluster.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address at which challenges are answered.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SOLVER_PORT)))]
    listen_address: SocketAddr,
    /// Address of /livez and /readyz.
    #[arg(long, default_value = "0.0.0.0:9403")]
    healthz_listen_address: SocketAddr,
    /// Address of /metrics. Without it, there are no metrics.
    #[arg(long)]
    metrics_listen_address: Option<SocketAddr>,
    /// Namespaces whose challenges are answered, comma-separated; all if empty.
    #[arg(long, value_delimiter = ',', default_value = "")]
    namespace: Vec<String>,
    /// Seconds for which challenges are still answered after SIGTERM, so that ingress controllers can remove this address
    /// from their configuration first.
    #[arg(long, default_value_t = 5)]
    drain_seconds: u64,
    /// Log filter, such as "info" or "http01_solver=debug".
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    log_filter: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().json().with_env_filter(EnvFilter::new(&arguments.log_filter)).init();
    let mut terminate = signal(SignalKind::terminate())?;
    let challenges = listen(arguments.listen_address).await?;
    let health = listen(arguments.healthz_listen_address).await?;
    let metrics = Metrics::default();
    if let Some(address) = arguments.metrics_listen_address {
        let (listener, limit) = (listen(address).await?, MAX_HEALTH_CONNECTIONS);
        let scrapes = http01_solver::serve(
            listener,
            metrics.router(),
            limit,
            Metrics::default(),
            std::future::pending(),
        );
        tokio::spawn(scrapes);
    }
    let tokens = Tokens::default();
    let config = kube::Config::infer().await.context("failed to configure the Kubernetes client")?;
    let client =
        http01_solver::client(config, &tokens).context("failed to configure the Kubernetes client")?;
    let namespaces = arguments.namespace.into_iter().filter(|name| !name.is_empty()).collect();
    tokio::spawn(http01_solver::watch(client, namespaces, tokens.clone()));
    let (stop, stopped) = watch::channel(false);
    let until_stopped = |mut stopped: watch::Receiver<bool>| async move {
        // The sender lives as long as main, so this ends only when it sends true.
        _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let challenge_server = tokio::spawn(http01_solver::serve(
        challenges,
        answer_health_checks(metrics.count_responses(http01_solver::router(tokens.clone()))),
        MAX_CONNECTIONS,
        metrics,
        until_stopped(stopped.clone()),
    ));
    let health_server = tokio::spawn(http01_solver::serve(
        health,
        http01_solver::health_router(tokens),
        MAX_HEALTH_CONNECTIONS,
        Metrics::default(),
        until_stopped(stopped),
    ));

    terminate.recv().await;
    tracing::info!(drain_in_seconds = arguments.drain_seconds, "received SIGTERM, draining");
    sleep(Duration::from_secs(arguments.drain_seconds)).await;
    stop.send_replace(true);
    challenge_server.await?;
    health_server.await?;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    tracing::info!(%address, "listening");
    Ok(listener)
}
