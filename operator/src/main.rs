//! The `operator` binary: flags, logs, and the order of start and shutdown. Next: `lifecycle.rs` for what it does in between.

use std::{env, process};

use anyhow::{Context as _, Result, bail};
use operator::{
    args::{Arguments, IgnoredSetting, LogFormat},
    clock::{Clock, SystemClock},
    k8s::Contact,
    leadership::Leadership,
    lifecycle, process_limits, server,
};
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;

fn main() -> Result<()> {
    let (arguments, ignored) = Arguments::read(env::args_os()).map_err(|error| match error.downcast() {
        // Help, the version, or a flag that is unknown or invalid.
        Ok(error) => clap::Error::exit(&error),
        Err(error) => error,
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(arguments.log_filter()));
    match arguments.logging_format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        LogFormat::Text => logs.init(),
    }
    for IgnoredSetting { name, effect, .. } in ignored {
        tracing::warn!(setting = name, effect, "a setting of cert-manager has no effect here");
    }
    process_limits::apply();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    if !arguments.check_ready.is_empty() {
        return runtime.block_on(server::check_all_ready(&arguments.check_ready));
    }
    let config = runtime
        .block_on(lifecycle::configure(&arguments))
        .context("failed to configure the Kubernetes client")?;
    let contact = Contact::default();
    let unique = format!("{:x}-{:x}", process::id(), SystemClock.now().as_nanosecond() & 0xffff_ffff);
    let settings = arguments.lease(&unique)?;
    let compete = || Leadership::compete(config.clone(), contact.clone(), settings);
    let mut leadership = arguments.leader_elect.then(compete).transpose()?;
    let stop_reason =
        runtime.block_on(lifecycle::run(&arguments, config.clone(), contact.clone(), leadership.as_mut()));
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
