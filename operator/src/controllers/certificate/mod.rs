//! Certificates: keeps a valid certificate in each one's Secret.

mod apply;
mod gather;
mod secret;
mod settled;

use std::sync::Arc;

use crds::certmanager::Certificate;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

pub(super) use self::settled::enqueue_due;
use self::settled::with_version;
use crate::{context::Context, decision::Requeue, error::ReconcileError, objects::seen_secret::SeenSecret};

/// Its name in metrics and logs: one controller in place of cert-manager's six.
pub(super) const NAME: &str = "certificates";

/// How many are looked at at once.
pub const MAX_CONCURRENT_RECONCILES: u16 = 32;

/// Who owns the fields of Secrets, as cert-manager has it: both can take over from one another.
const ISSUING: &str = "cert-manager-certificates-issuing";
const KEYS: &str = "cert-manager-certificates-key-manager";
const REQUESTS: &str = "cert-manager-certificates-request-manager";
const TRIGGER: &str = "cert-manager-certificates-trigger";

pub(super) async fn reconcile(
    object: Arc<Certificate>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let reconciling = Reconciling { context: &context, certificate: &object };
    // Before anything is gathered: what changes from here on wakes it, and is not to be taken for what was decided on.
    let seen = reconciling.fingerprint();
    let version = object.metadata.resource_version.as_deref().unwrap_or_default();
    if reconciling.is_settled(with_version(seen, version)) {
        return Ok(Requeue::OnChange);
    }
    let decision = reconciling.gather_and_decide().await?;
    let (next, rest) = reconciling.apply(decision).await?;
    Ok(match rest {
        Some(version) => reconciling.settle(with_version(seen, &version), next),
        None => next,
    })
}

/// What came of an action.
enum ActionOutcome {
    /// All is as it shall be.
    Unchanged,
    /// The status was written, which gave the Certificate this resourceVersion.
    StatusWritten(String),
    /// Something else was done.
    Changed,
    /// It was done a moment ago and not heard of yet.
    AwaitingCache,
}

struct Reconciling<'a> {
    context: &'a Context,
    certificate: &'a Certificate,
}

impl Reconciling<'_> {
    fn namespace(&self) -> String {
        self.certificate.namespace().unwrap_or_default()
    }

    fn stored_secret(&self, name: &str) -> Option<Arc<SeenSecret>> {
        self.context.stores.secrets.get(&ObjectRef::new(name).within(&self.namespace()))
    }
}
