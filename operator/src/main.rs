//! The `operator` binary: arguments, logs, listeners, shutdown.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

/// Reconciles certificates from ACME servers into TLS Secrets.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address of the health endpoint `/healthz`.
    #[arg(long, default_value = "0.0.0.0:9403")]
    healthz_listen_address: SocketAddr,
    /// What to log, such as `info` or `operator=debug`.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    log_filter: String,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().json().with_env_filter(EnvFilter::new(&arguments.log_filter)).init();
    let address = arguments.healthz_listen_address;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    tracing::info!(%address, "serving health");
    axum::serve(listener, operator::server::router())
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    tracing::info!("stopped");
    Ok(())
}
