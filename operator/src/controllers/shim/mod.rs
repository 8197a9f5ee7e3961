//! Objects that ask for Certificates by annotation: creates, changes and deletes these Certificates.
//!
//! Knows stores and writes, for every kind that implements [`Shimmed`]; must not know what an annotation means.
//! Next: `ingress.rs` for such a kind, then `decision/shim`.

mod ingress;

use std::{collections::BTreeSet, sync::Arc};

use crds::certmanager::Certificate;
use kube::{Resource, ResourceExt, api::Patch};

use crate::{
    context::Context,
    decision::{
        Requeue,
        shim::{self, CertificateSource, Decision, Update},
    },
    error::ReconcileError,
    k8s,
    objects::{EventNote, metadata::Identity},
};

/// A kind whose objects may ask for Certificates.
pub(super) trait Shimmed: Resource<DynamicType = ()> + Send + Sync + 'static {
    /// The controller's name in cert-manager's metrics, and in logs.
    const NAME: &'static str;
    /// The field manager of the Certificates and the reporter of Events, as in cert-manager.
    const MANAGER: &'static str;

    /// What an object of this kind asks for.
    fn source(&self) -> CertificateSource<'_>;
}

pub(super) async fn reconcile<K: Shimmed>(
    object: Arc<K>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let source = object.source();
    let existing = gather(&source, &context);
    let decision = shim::decide(&source, &existing, &context.settings.ingress);
    apply(decision, &*object, &context).await?;
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

async fn apply<K: Shimmed>(decision: Decision, source: &K, context: &Context) -> Result<(), ReconcileError> {
    let Decision { create, update, delete, notes } = decision;
    let certificates = context.kube.api::<Certificate>(source.namespace_or_empty());
    let report = |reason: &str, verb: &str, name: &str| {
        let message = format!("Successfully {verb} Certificate {name:?}");
        context.kube.publish(K::MANAGER, &EventNote::normal(reason, message), source);
    };
    for certificate in create {
        if k8s::create(&certificates, K::MANAGER, &certificate).await?.is_some() {
            report("CreateCertificate", "created", &certificate.name_any());
        }
    }
    for Update { name, patch } in update {
        k8s::patch(&certificates, K::MANAGER, &name, Patch::Merge(patch)).await?;
        report("UpdateCertificate", "updated", &name);
    }
    for name in delete {
        k8s::delete(&certificates, &name, None).await?;
        report("DeleteCertificate", "deleted unrequired", &name);
    }
    for note in notes {
        context.kube.publish(K::MANAGER, &note, source);
    }
    Ok(())
}
