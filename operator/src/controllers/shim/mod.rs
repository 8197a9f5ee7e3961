//! Objects that ask for Certificates by annotation: creates, changes and deletes these Certificates.
//!
//! Knows stores and writes, for every kind that implements [`Shimmed`]; must not know what an annotation means.
//! Next: `ingress.rs` and `gateway.rs` for such kinds, then `decision/shim`.

mod gateway;
mod ingress;

use std::{collections::BTreeSet, sync::Arc};

use crds::certmanager::Certificate;
use kube::{Api, ResourceExt, api::Patch};

use super::report::EventsOnly;
use crate::{
    context::Context,
    decision::{
        Requeue,
        shim::{self, CertificateSource, Change, Checked, Decision, ShimSettings, SourceKind, Update},
    },
    error::{ReconcileError, Tried},
    k8s,
    objects::{EventNote, metadata::Identity},
    reason::Reason,
};

/// A kind whose objects may ask for Certificates. [`EventsOnly::MANAGER`] is also the field manager of these.
pub(super) trait Shimmed: EventsOnly {
    /// The controller's name in cert-manager's metrics, and in logs.
    const NAME: &'static str;

    /// What the flags say about this kind.
    fn settings(context: &Context) -> &ShimSettings;

    /// What an object of this kind asks for.
    fn source(&self, context: &Context) -> CertificateSource<'_>;
}

pub(super) async fn reconcile<K: Shimmed>(
    object: Arc<K>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let source = object.source(&context);
    let existing = gather(&source, &context);
    let decision = shim::decide(&source, &existing, K::settings(&context));
    apply(decision, source.kind, &*object, &context).await?;
    Ok(Requeue::Resync)
}

/// The Certificates with the names that a source asks for, and those that it owns.
fn gather(source: &CertificateSource<'_>, context: &Context) -> Vec<Arc<Certificate>> {
    let namespace = source.metadata.namespace.as_deref().unwrap_or_default();
    let find = |name: &str| context.cache.certificates.get(namespace, name);
    let index = &context.cache.indexes.certificates_by_owner;
    let owned = source.owner.iter().flat_map(|owner| index.names(namespace, &owner.uid));
    let desired = source.tls.iter().map(|block| block.secret_name.to_owned());
    let names: BTreeSet<_> = desired.chain(owned).collect();
    names.iter().filter_map(|name| find(name)).collect()
}

async fn apply<K: Shimmed>(
    decision: Decision<'_>,
    kind: SourceKind,
    source: &K,
    context: &Context,
) -> Result<(), ReconcileError> {
    let Decision { changes, delete, mut notes } = decision;
    let certificates = context.kube.api::<Certificate>(source.namespace_or_empty());
    let report = |reason: Reason, name: &str| {
        context.kube.publish(K::MANAGER, &shim::written(reason, name), source, context.now());
    };
    // A Certificate that is rejected must not hold up the others.
    let mut outcome = Ok(());
    for change in changes {
        match change {
            Change::Create(certificate) => {
                let name = certificate.name_any();
                let created = k8s::create(&certificates, K::MANAGER, &*certificate).await;
                if let Ok(Some(_)) = created {
                    report(Reason::CreateCertificate, &name);
                }
                outcome =
                    outcome.and(created.map(drop).or_else(|error| noted(error, kind, &name, &mut notes)));
            }
            Change::Update(update) => match write(&certificates, K::MANAGER, &update, context).await {
                Ok(Checked::Patch(_)) => report(Reason::UpdateCertificate, &update.name),
                Ok(Checked::Same) => {}
                Ok(Checked::LeftAlone) => notes.push(shim::left_alone(kind, &update.name)),
                Err(error) => outcome = outcome.and(noted(error, kind, &update.name, &mut notes)),
            },
            Change::LeaveAlone { name, owner } => notes.push(shim::of_another(kind, &name, &owner)),
        }
    }
    for name in delete {
        let seen = context.cache.certificates.get(source.namespace_or_empty(), &name).and_then(|it| it.uid());
        let deleted = k8s::delete(&certificates, &name, seen).await;
        if deleted.is_ok() {
            report(Reason::DeleteCertificate, &name);
        }
        outcome = outcome.and(deleted);
    }
    publish(&notes, source, context);
    outcome
}

/// Notes that the API server does not accept a Certificate, until the source is corrected. Other errors are retried.
fn noted(
    error: ReconcileError,
    kind: SourceKind,
    name: &str,
    notes: &mut Vec<EventNote>,
) -> Result<(), ReconcileError> {
    let fields = error.invalid_fields();
    if fields.is_empty() {
        return Err(error);
    }
    notes.push(shim::rejected(kind, name, &fields));
    Ok(())
}

/// Publishes events, unless they were the last ones about the source. The same source is reconciled often.
fn publish<K: Shimmed>(notes: &[EventNote], source: &K, context: &Context) {
    let uid = source.uid_or_empty();
    let last = context.memory.notes.get(uid).unwrap_or_default();
    for note in notes.iter().filter(|note| !last.contains(note)) {
        context.kube.publish(K::MANAGER, note, source, context.now());
    }
    if notes.is_empty() {
        context.memory.notes.forget(uid);
    } else {
        context.memory.notes.put(uid.to_owned(), notes.to_vec());
    }
}

/// Updates a Certificate. Who has set what is read only if that matters, and once for each version.
async fn write(
    certificates: &Api<Certificate>,
    manager: &str,
    update: &Update,
    context: &Context,
) -> Result<Checked, ReconcileError> {
    let mut checked = Checked::Patch(update.patch.clone());
    if update.needs_check() {
        let version = update.patch["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if let Some((of, known)) = context.memory.checked_updates.get(&update.uid)
            && of == version
            && (update.is_same || known == Checked::LeftAlone)
        {
            return Ok(known);
        }
        let read = certificates.get_metadata(&update.name).await;
        let read = read.tried(|| format!("read Certificate {}", update.name))?;
        checked = shim::checked(update, manager, read.managed_fields());
        if !matches!(checked, Checked::Patch(_)) {
            let version = read.resource_version().unwrap_or_default();
            context.memory.checked_updates.put(update.uid.clone(), (version, checked.clone()));
        }
    }
    if let Checked::Patch(patch) = &checked {
        k8s::patch(certificates, manager, &update.name, Patch::Merge(patch.clone())).await?;
    }
    Ok(checked)
}
