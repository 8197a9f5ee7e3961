//! Certificates: keeps a valid certificate in the Secret of each one.
//!
//! Gathers, asks `decision::certificate` what to do, and does it. Must not choose anything itself. Next: `gather.rs`, then `apply.rs`;
//! `settled.rs` for why most reconciles end immediately.

mod apply;
mod gather;
mod next_key;
mod passwords;
mod renewal_info;
mod secret;
mod settled;
mod slow;
mod start;

use std::sync::Arc;

use crds::certmanager::{Certificate, CertificateStatus};
use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt};

pub use self::renewal_info::MAX_CONCURRENT_RENEWAL_INFO;
pub(super) use self::{
    passwords::enqueue_changed, renewal_info::fetch_renewal_info, settled::enqueue_due, start::enqueue_all,
};
use super::report::{Report, Reports, ServerOf};
use crate::{
    cache::{Cache, Kind},
    context::Context,
    decision::{Requeue, certificate, fair_queue::Slots},
    error::ReconcileError,
    objects::{
        self, EventNote,
        metadata::{Identity, controller_of_kind},
        secret_meta::SecretMeta,
    },
};

/// The name in metrics and logs. One controller does the work of six in cert-manager.
pub(super) const NAME: &str = "certificates";

/// How many Certificates are reconciled concurrently. Few of these wait for large keys.
pub(super) const SLOTS: Slots = Slots { server: 8, ..Slots::few(96) };

/// The field managers and event sources of cert-manager's controllers, so that either program can take over from the other.
const ISSUING_MANAGER: &str = objects::secret::FIELD_MANAGER;
const KEY_MANAGER: &str = "cert-manager-certificates-key-manager";
const REQUEST_MANAGER: &str = "cert-manager-certificates-request-manager";
const TRIGGER_MANAGER: &str = "cert-manager-certificates-trigger";

pub(super) async fn reconcile(
    certificate: Arc<Certificate>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let reconciler = Reconciler { context: &context, certificate: &certificate };
    // Taken before anything is gathered: a later change gives another fingerprint, so it is not mistaken for what was decided on.
    let seen = reconciler.look();
    let fingerprint = reconciler.fingerprint(&seen);
    if reconciler.is_settled(fingerprint) {
        return Ok(Requeue::OnChange);
    }
    let decision = reconciler.gather_and_decide(seen).await?;
    let applied = reconciler.apply(decision).await?;
    Ok(match applied.settled_version {
        Some(version) => reconciler.settle(fingerprint, &version, applied.requeue),
        None => applied.requeue,
    })
}

impl Reports for Certificate {
    const MANAGER: &'static str = ISSUING_MANAGER;

    const SERVER: Option<ServerOf<Self>> =
        Some(|certificate, cache| needs_large_key(certificate, cache).then(|| large_keys(certificate)));

    type Status = CertificateStatus;

    fn api(&self, context: &Context) -> Api<Self> {
        context.kube.api(self.namespace_or_empty())
    }

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn reported(&self, report: Report<'_>, now: Timestamp) -> Option<Self::Status> {
        match report {
            Report::Problem(problem) => Some(certificate::report(self, &problem.message, now)),
            // The next decision writes the status without it.
            Report::Solved(_) => None,
        }
    }

    fn warn(&self, note: &EventNote, context: &Context) {
        publish(Self::MANAGER, note, self, context);
    }
}

/// Publishes an event about a Certificate. Warnings are about the object as well that the Certificate was created from: its user may
/// never read a Certificate.
fn publish(manager: &'static str, note: &EventNote, certificate: &Certificate, context: &Context) {
    context.kube.publish(manager, note, certificate, context.now());
    if note.warning {
        publish_for(&context.cache.ingresses, manager, note, certificate, context);
        publish_for(&context.cache.gateways, manager, note, certificate, context);
        publish_for(&context.cache.listener_sets, manager, note, certificate, context);
    }
}

/// Publishes an event about the object that a Certificate was created from, if that is of a kind.
fn publish_for<K>(
    kind: &Kind<K>,
    manager: &'static str,
    note: &EventNote,
    certificate: &Certificate,
    context: &Context,
) where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let owner = controller_of_kind::<K>(&certificate.metadata);
    let object = owner.and_then(|it| kind.get(certificate.namespace_or_empty(), &it.name));
    if let Some(object) = object {
        context.kube.publish(manager, note, &*object, context.now());
    }
}

/// What the work for a Certificate waits for that has no large key yet, as other work waits for a server.
fn large_keys(certificate: &Certificate) -> String {
    format!("large keys of {}", certificate.namespace_or_empty())
}

/// Whether the next key of a Certificate is large and does not exist yet. Others of its namespace must not wait until it is generated.
fn needs_large_key(certificate: &Certificate, cache: &Cache) -> bool {
    certificate::has_large_key(certificate)
        && !certificate::is_quiet(certificate)
        && cache
            .secrets
            .get(certificate.namespace_or_empty(), &certificate::next_key_name(certificate))
            .is_none()
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
