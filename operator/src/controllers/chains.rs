//! Certificate chains, which the cache does not keep: one that was just issued is in memory, and any other is read.

use std::{fmt::Debug, sync::Arc};

use crds::{
    acme::{Order, State},
    certmanager::CertificateRequest,
    condition::{self, HasConditions},
};
use k8s_openapi::ByteString;
use kube::{Resource, ResourceExt, api::ListParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;

use crate::{
    context::Context,
    error::{ReconcileError, Tried},
    objects::metadata::Identity,
};

/// A kind whose objects end with a chain in their status.
pub(super) trait HasChain:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned
{
    /// Whether there is a chain.
    fn is_issued(&self) -> bool;

    /// The chain, PEM, leaf first.
    fn chain_mut(&mut self) -> &mut Option<ByteString>;

    /// Whether the cache lacks more than the chain.
    fn lacks_more(&self) -> bool {
        false
    }

    /// Adds what the cache lacks, from a read of the same object.
    fn complete(&mut self, mut read: Self) {
        *self.chain_mut() = read.chain_mut().take();
    }
}

impl HasChain for CertificateRequest {
    fn is_issued(&self) -> bool {
        condition::is_true(self.conditions(), condition::READY)
    }

    fn chain_mut(&mut self) -> &mut Option<ByteString> {
        &mut self.status.get_or_insert_default().certificate
    }

    fn lacks_more(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.ca.is_some())
    }

    fn complete(&mut self, read: Self) {
        let (status, read) = (self.status.get_or_insert_default(), read.status.unwrap_or_default());
        (status.certificate, status.ca) = (read.certificate, read.ca);
    }
}

impl HasChain for Order {
    fn is_issued(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.state == Some(State::Valid))
    }

    fn chain_mut(&mut self) -> &mut Option<ByteString> {
        &mut self.status.get_or_insert_default().certificate
    }
}

/// An object with its chain, if it was issued.
///
/// # Errors
/// The API server rejects the read.
pub(super) async fn with_chain<K: HasChain>(
    mut object: Arc<K>,
    context: &Context,
) -> Result<Arc<K>, ReconcileError> {
    if object.is_issued() {
        let remembered = context.memory.chains.take(object.uid_or_empty());
        match remembered.filter(|_| !object.lacks_more()) {
            Some(chain) => *Arc::make_mut(&mut object).chain_mut() = Some(chain),
            None => {
                if let Some(read) = read(&*object, context).await? {
                    Arc::make_mut(&mut object).complete(read);
                }
            }
        }
    }
    Ok(object)
}

async fn read<K: HasChain>(object: &K, context: &Context) -> Result<Option<K>, ReconcileError> {
    let (namespace, name) = (object.namespace_or_empty(), object.name_any());
    // A list, because the operator needs the right to list anyway, and not the right to get.
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    let read = context.kube.api::<K>(namespace).list(&named).await;
    let read = read.tried(|| format!("read {} {namespace}/{name}", K::kind(&())))?;
    Ok(read.items.into_iter().find(|read| read.uid_or_empty() == object.uid_or_empty()))
}
