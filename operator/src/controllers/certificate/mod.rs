//! Certificates: keeps a valid certificate in the Secret of each one.
//!
//! Gathers, asks `decision::certificate` what to do, and does it. Must not choose anything itself. Next: `gather.rs`, then `apply.rs`;
//! `settled.rs` for why most reconciles end immediately.

mod apply;
mod gather;
mod next_key;
mod secret;
mod settled;

use std::sync::Arc;

use crds::certmanager::Certificate;
use kube::ResourceExt;

pub(super) use self::settled::enqueue_due;
use crate::{context::Context, decision::Requeue, error::ReconcileError, objects::secret_meta::SecretMeta};

/// The name in metrics and logs. One controller does the work of six in cert-manager.
pub(super) const NAME: &str = "certificates";

/// How many Certificates are reconciled concurrently.
pub const MAX_CONCURRENT_RECONCILES: u16 = 32;

/// The field managers and event sources of cert-manager's controllers, so that either program can take over from the other.
const ISSUING_MANAGER: &str = "cert-manager-certificates-issuing";
const KEY_MANAGER: &str = "cert-manager-certificates-key-manager";
const REQUEST_MANAGER: &str = "cert-manager-certificates-request-manager";
const TRIGGER_MANAGER: &str = "cert-manager-certificates-trigger";

pub(super) async fn reconcile(
    certificate: Arc<Certificate>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let reconciler = Reconciler { context: &context, certificate: &certificate };
    // Taken before anything is gathered: a later change gives another fingerprint, so it is not mistaken for what was decided on.
    let fingerprint = reconciler.fingerprint();
    if reconciler.is_settled(fingerprint) {
        return Ok(Requeue::OnChange);
    }
    let decision = reconciler.gather_and_decide().await?;
    let applied = reconciler.apply(decision).await?;
    Ok(match applied.settled_version {
        Some(version) => reconciler.settle(fingerprint, &version, applied.requeue),
        None => applied.requeue,
    })
}

/// One reconcile of a Certificate.
struct Reconciler<'a> {
    context: &'a Context,
    certificate: &'a Certificate,
}

impl Reconciler<'_> {
    fn namespace(&self) -> String {
        self.certificate.namespace().unwrap_or_default()
    }

    fn uid(&self) -> String {
        self.certificate.uid().unwrap_or_default()
    }

    fn stored_secret(&self, name: &str) -> Option<Arc<SecretMeta>> {
        self.context.cache.secrets.get(&self.namespace(), name)
    }
}
