//! The private key of the next issuance: kept in a Secret of its own, and in memory while the issuance is in progress.

use std::sync::Arc;

use crds::annotations::secret::TLS_KEY;
use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroizing;

use super::{KEY_MANAGER, Reconciler, slow};
use crate::{
    decision::certificate::{self, KeySource},
    error::ReconcileError,
    k8s,
    objects::{secret, secret_meta::SecretMeta},
    pki::{KeyError, MAX_FAST_KEY_PEM_BYTES, PrivateKey},
};

impl Reconciler<'_> {
    /// The name of the next key's Secret: that of an issuance that cert-manager started, or our own.
    pub(super) fn next_key_name(&self) -> String {
        let started =
            self.certificate.status.as_ref().and_then(|status| status.next_private_key_secret_name.clone());
        started
            .filter(|name| self.is_key(name))
            .unwrap_or_else(|| certificate::next_key_name(self.certificate))
    }

    /// The name of the issued revision's key Secret, if it still exists.
    pub(super) fn past_key_name(&self) -> Option<String> {
        certificate::past_key_name(self.certificate).filter(|name| self.is_key(name))
    }

    /// Whether a Secret with a key of this Certificate exists, and has not just been deleted.
    pub(super) fn is_key(&self, name: &str) -> bool {
        self.stored_secret(name).is_some_and(|secret| self.owns(&secret))
            && self.context.memory.deleted_keys.get(&self.key_id(name)).is_none()
    }

    fn owns(&self, secret: &SecretMeta) -> bool {
        let owner = secret.owner.as_ref().map(|owner| &*owner.uid);
        owner.is_some() && owner == self.certificate.metadata.uid.as_deref()
    }

    fn key_id(&self, name: &str) -> (String, String) {
        (self.uid(), name.to_owned())
    }

    /// The next key, if it exists: from memory, or read once.
    pub(super) async fn next_key(&self, name: &str) -> Result<Option<Arc<PrivateKey>>, ReconcileError> {
        if let Some(key) = self.context.memory.next_keys.get(&self.key_id(name)) {
            return Ok(Some(key));
        }
        let status = self.certificate.status.as_ref();
        let named = status.is_some_and(|status| status.next_private_key_secret_name.is_some());
        if self.stored_secret(name).is_none() && !named {
            return Ok(None);
        }
        let key = self.read_next_key(name).await?;
        if let Some(key) = &key {
            self.context.memory.next_keys.put(self.key_id(name), Arc::clone(key));
        }
        Ok(key)
    }

    /// The key in a Secret; `None` if there is none that can be parsed.
    async fn read_next_key(&self, name: &str) -> Result<Option<Arc<PrivateKey>>, ReconcileError> {
        let value = self.context.kube.secret_value(&self.namespace(), name, TLS_KEY).await?;
        let Some(value) = value else { return Ok(None) };
        Ok(parse(value).await?.ok().map(Arc::new))
    }

    /// Makes the next key and stores it in its Secret. A key that is already there is used instead: a process that ended made it.
    pub(super) async fn create_next_key(
        &self,
        name: &str,
        source: KeySource,
    ) -> Result<Arc<PrivateKey>, ReconcileError> {
        let key = match source {
            KeySource::Generate(kind) => self.context.keys.generate(kind, &self.namespace()).await?,
            KeySource::Reuse => self.read_current_key().await?,
        };
        let object = secret::next_private_key(name, self.certificate, &key)?;
        let secrets = self.context.kube.api::<Secret>(&self.namespace());
        self.context.memory.deleted_keys.forget(&self.key_id(name));
        let key = if k8s::create(&secrets, KEY_MANAGER, &object).await?.is_some() {
            Arc::new(key)
        } else if let Some(existing) = self.read_next_key(name).await? {
            existing
        } else {
            k8s::delete(&secrets, name, None).await?;
            return Err(ReconcileError::Waiting {
                what: format!("the private key Secret {name:?}"),
                why: "it had no usable private key and was deleted; a new one is created".to_owned(),
            });
        };
        self.context.memory.next_keys.put(self.key_id(name), Arc::clone(&key));
        Ok(key)
    }

    /// The key in the Certificate's Secret, which the next issuance reuses.
    async fn read_current_key(&self) -> Result<PrivateKey, ReconcileError> {
        let name = &self.certificate.spec.secret_name;
        let value = self.context.kube.secret_value(&self.namespace(), name, TLS_KEY).await?;
        let value = value.ok_or_else(|| ReconcileError::Waiting {
            what: format!("the private key in the Secret {name:?}"),
            why: "it was removed before it could be reused".to_owned(),
        })?;
        parse(value).await?.map_err(|error| self.invalid_secret(TLS_KEY, &error))
    }

    pub(super) async fn delete_next_key(&self, name: &str) -> Result<(), ReconcileError> {
        k8s::delete(&self.context.kube.api::<Secret>(&self.namespace()), name, None).await?;
        self.context.memory.next_keys.forget(&self.key_id(name));
        self.context.memory.deleted_keys.put(self.key_id(name), ());
        Ok(())
    }
}

/// Parses a private key in PEM.
pub(super) async fn parse(pem: Zeroizing<Vec<u8>>) -> Result<Result<PrivateKey, KeyError>, ReconcileError> {
    slow::run(pem.len() > MAX_FAST_KEY_PEM_BYTES, move || PrivateKey::from_pem(&pem)).await
}
