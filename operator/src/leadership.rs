//! Leadership: the Lease is acquired, renewed, and released on a thread of its own, with a client of its own, so that nothing that a
//! reconcile does can delay it.
//!
//! Knows when this process may lead; must not know what a leader does. Next: `k8s/lease.rs`, and `fence.rs` for the end.

use std::{
    io,
    thread::{self, JoinHandle},
};

use kube::Config;
use tokio::{runtime::Builder, sync::oneshot};

use crate::{
    fence,
    k8s::{Contact, Lease, LeaseSettings, connect},
};

/// A candidate, and then the leader. If it loses leadership, the process ends.
pub struct Leadership {
    won: oneshot::Receiver<()>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Leadership {
    /// Starts to compete for the Lease.
    ///
    /// # Errors
    /// The operating system can't start a thread.
    pub fn compete(config: Config, contact: Contact, settings: LeaseSettings) -> io::Result<Self> {
        fence::start()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (announce, won) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            runtime.block_on(async {
                match connect(config, contact) {
                    Ok(client) => lead(Lease::new(client, settings), announce, stopped).await,
                    Err(_) => fence::end("failed to configure the client of the Lease"),
                }
            });
        };
        let thread = thread::Builder::new().name("lease".to_owned()).spawn(work)?;
        Ok(Self { won, stop, thread })
    }

    /// Waits until this process is the leader.
    pub async fn won(&mut self) {
        // The sender is only dropped with the process.
        _ = (&mut self.won).await;
    }

    /// Releases the Lease, so that a standby takes over immediately. Call this when everything that the leader does has stopped.
    pub fn release(self) {
        drop(self.stop);
        _ = self.thread.join();
    }
}

async fn lead(mut lease: Lease, announce: oneshot::Sender<()>, mut stopped: oneshot::Receiver<()>) {
    tokio::select! {
        reason = async {
            lease.acquire().await;
            _ = announce.send(());
            lease.hold().await
        } => fence::end(reason),
        _ = &mut stopped => {}
    }
    lease.release().await;
}
