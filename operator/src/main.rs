//! The `operator` binary: flags, logs, listeners, leadership, shutdown.

use std::{env, process, sync::Arc};

use anyhow::{Context as _, Result, bail};
use kube::Config;
use operator::{
    args::{Arguments, LogFormat},
    clock::{Clock, SystemClock},
    context::Context,
    controllers,
    k8s::{self, Contact},
    leadership::Leadership,
    metrics::{Metrics, Scrapes},
    process_limits,
    server::{self, Readiness},
    watchdog,
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

fn main() -> Result<()> {
    let (arguments, ignored_flags) = Arguments::read(env::args_os())?;
    let logs = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(arguments.log_filter()));
    match arguments.logging_format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Text => logs.init(),
    }
    for flag in ignored_flags {
        tracing::warn!(flag, "ignored a flag of cert-manager that has no effect here");
    }
    process_limits::apply();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    if !arguments.check_ready.is_empty() {
        return runtime.block_on(server::check_all_ready(&arguments.check_ready));
    }
    let config = runtime.block_on(Config::infer()).context("failed to configure the Kubernetes client")?;
    let contact = Contact::default();
    let unique = format!("{:x}-{:x}", process::id(), SystemClock.now().as_nanosecond() & 0xffff_ffff);
    let settings = arguments.lease(&unique)?;
    let compete = || Leadership::compete(config.clone(), contact.clone(), settings);
    let mut leadership = arguments.leader_elect.then(compete).transpose()?;
    let stop_reason = runtime.block_on(run(&arguments, config.clone(), contact.clone(), leadership.as_mut()));
    // Ends every task, so that a standby may take over immediately.
    runtime.shutdown_background();
    if let Some(leadership) = leadership {
        leadership.release();
    }
    if let Some(reason) = stop_reason? {
        bail!("{reason}");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Waits for leadership, if there is an election, and runs the controllers. Returns why they stopped, unless a signal asked for it.
async fn run(
    arguments: &Arguments,
    config: Config,
    contact: Contact,
    leadership: Option<&mut Leadership>,
) -> Result<Option<&'static str>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    watchdog::start()?;
    let client =
        k8s::connect(config, contact.clone()).context("failed to configure the Kubernetes client")?;
    let metrics = Metrics::default();
    let readiness = Readiness::default();
    let health_router = server::health_router(readiness.clone(), contact);
    server::serve(arguments.healthz_listen_address, health_router).await?;
    let observer = metrics.acme_observer();
    let context = Arc::new(Context::new(client, Arc::new(SystemClock), arguments.settings(), observer)?);
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
