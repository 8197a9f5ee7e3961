//! The `http01-solver` binary: arguments, logs, listeners, shutdown.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

/// Serves HTTP-01 challenge responses.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address to serve on.
    #[arg(long, default_value = "0.0.0.0:8089")]
    listen_address: SocketAddr,
    /// What to log, such as `info` or `http01_solver=debug`.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    log_filter: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().json().with_env_filter(EnvFilter::new(&arguments.log_filter)).init();
    let address = arguments.listen_address;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    tracing::info!(%address, "serving challenges");
    axum::serve(listener, http01_solver::router())
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await?;
    tracing::info!("stopped");
    Ok(())
}
