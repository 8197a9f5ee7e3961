//! The `operator` binary: flags, logs, listeners, leadership, shutdown.

use std::{env, process, sync::Arc};

use anyhow::{Context as _, Result, bail};
use operator::{
    args::{Arguments, LogFormat},
    clock::{Clock, SystemClock},
    context::Context,
    controllers,
    k8s::Lease,
    metrics::{Metrics, Scrapes},
    server::{self, Readiness},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (arguments, ignored_flags) = Arguments::read(env::args_os())?;
    let logs = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(arguments.log_filter()));
    match arguments.logging_format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Text => logs.init(),
    }
    for flag in ignored_flags {
        tracing::warn!(flag, "ignored a flag of cert-manager that has no effect here");
    }
    if !arguments.check_ready.is_empty() {
        for check in &arguments.check_ready {
            server::check_ready(check).await?;
        }
        return Ok(());
    }
    let client = kube::Client::try_default().await.context("failed to configure the Kubernetes client")?;
    let metrics = Metrics::default();
    let readiness = Readiness::default();
    server::serve(arguments.healthz_listen_address, server::health_router(readiness.clone())).await?;
    let observer = metrics.acme_observer();
    let context = Arc::new(Context::new(client, Arc::new(SystemClock), arguments.settings(), observer)?);
    let scrapes =
        Scrapes::new(metrics.clone(), Arc::clone(&context.cache), arguments.enable_certificate_metrics);
    server::serve(arguments.metrics_listen_address, server::metrics_router(scrapes)).await?;

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let clock = SystemClock;
    let unique = format!("{:x}-{:x}", process::id(), clock.now().as_nanosecond() & 0xffff_ffff);
    let mut lease = Lease::new(context.kube.client.clone(), arguments.lease(&unique), &clock);
    let work = async {
        if !arguments.leader_elect {
            controllers::start(Arc::clone(&context), metrics.clone(), || readiness.set(true)).await;
            return "the controllers stopped";
        }
        readiness.set(true);
        lease.acquire().await;
        tracing::info!("became the leader");
        readiness.set(false);
        tokio::select! {
            () = controllers::start(Arc::clone(&context), metrics.clone(), || readiness.set(true)) => "the controllers stopped",
            () = lease.hold() => "lost leadership",
        }
    };
    let stop_reason = tokio::select! {
        reason = work => Some(reason),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    // No controller runs anymore, so a standby may take over immediately.
    if arguments.leader_elect {
        lease.release().await;
    }
    if let Some(reason) = stop_reason {
        bail!("{reason}");
    }
    tracing::info!("stopped");
    Ok(())
}
