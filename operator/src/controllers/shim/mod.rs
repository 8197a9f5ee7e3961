//! Ingresses: makes the Certificates that they ask for.

use std::sync::Arc;

use crds::certmanager::Certificate;
use k8s_openapi::api::networking::v1::Ingress;
use kube::{ResourceExt, api::Patch, runtime::reflector::ObjectRef};
use serde_json::{Value, json};

use crate::{
    context::Context,
    decision::{
        Requeue,
        shim::{self, Decision, FROM_INGRESS},
    },
    error::ReconcileError,
    k8s,
    objects::{EventNote, metadata::controlled_by},
};

/// Its name, as cert-manager's metrics and events have it.
pub(super) const NAME: &str = "ingress-shim";
const MANAGER: &str = "cert-manager-ingress-shim";

pub(super) async fn reconcile(
    ingress: Arc<Ingress>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let existing = gather(&ingress, &context);
    let decision = shim::decide(&ingress, &existing, &context.settings.ingress);
    apply(decision, &ingress, &context).await?;
    Ok(Requeue::Resync)
}

/// The Certificates with the names that the Ingress asks for, and those that it has made.
fn gather(ingress: &Ingress, context: &Context) -> Vec<Arc<Certificate>> {
    let namespace = ingress.namespace().unwrap_or_default();
    let store = &context.stores.certificates;
    let named = ingress
        .spec
        .iter()
        .flat_map(|spec| spec.tls.iter().flatten())
        .filter_map(|block| block.secret_name.as_ref());
    let mut found: Vec<_> =
        named.filter_map(|name| store.get(&ObjectRef::new(name).within(&namespace))).collect();
    let uid = ingress.uid().unwrap_or_default();
    let made = context.indexes.certificates_by_owner.names(&namespace, &uid);
    found.extend(made.iter().filter_map(|name| store.get(&ObjectRef::new(name).within(&namespace))).filter(
        |certificate| controlled_by(&certificate.metadata, "Ingress").is_some_and(|owner| owner.uid == uid),
    ));
    found.sort_by_key(|certificate| certificate.name_any());
    found.dedup_by_key(|certificate| certificate.name_any());
    found
}

async fn apply(decision: Decision, ingress: &Ingress, context: &Context) -> Result<(), ReconcileError> {
    let Decision { create, update, delete, notes } = decision;
    let namespace = ingress.namespace().unwrap_or_default();
    let certificates = context.api::<Certificate>(&namespace);
    let told = |reason: &str, verb: &str, name: &str| {
        let message = format!("Successfully {verb} Certificate {name:?}");
        context.publish(MANAGER, &EventNote::normal(reason, message), ingress);
    };
    for certificate in create {
        if k8s::create(&certificates, MANAGER, &certificate).await?.is_some() {
            told("CreateCertificate", "created", &certificate.name_any());
        }
    }
    for (existing, wanted) in update {
        let name = wanted.name_any();
        k8s::patch(&certificates, MANAGER, &name, Patch::Merge(difference(&existing, &wanted))).await?;
        told("UpdateCertificate", "updated", &name);
    }
    for name in delete {
        k8s::delete(&certificates, &name, None).await?;
        told("DeleteCertificate", "deleted unrequired", &name);
    }
    for note in notes {
        context.publish(MANAGER, &note, ingress);
    }
    Ok(())
}

/// What changes a Certificate into what it shall be: its spec as a whole, of labels and annotations those that are ours.
fn difference(existing: &Certificate, wanted: &Certificate) -> Value {
    let tree = |certificate: &Certificate| serde_json::to_value(&certificate.spec).unwrap_or_default();
    let mut annotations = json!(wanted.annotations());
    for (_, name) in FROM_INGRESS {
        if !wanted.annotations().contains_key(name) && existing.annotations().contains_key(name) {
            annotations[name] = Value::Null;
        }
    }
    let mut patch = json!({
        "metadata": {
            "resourceVersion": existing.resource_version(),
            "annotations": annotations,
            "labels": wanted.labels(),
        },
    });
    if let Some(spec) = k8s::merge_diff(&tree(existing), &tree(wanted)) {
        patch["spec"] = spec;
    }
    patch
}
