//! Reads and writes a Certificate's Secret.

use std::{collections::BTreeMap, sync::Arc};

use crds::{certmanager::Pkcs12Profile as WireProfile, meta::SecretKeySelector};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::{ISSUING, Reconciling};
use crate::{
    context::SecretRead,
    decision::certificate::SecretView,
    error::{ReconcileError, Tried},
    k8s::{self, is_newer},
    objects::{self, EventNote, secret},
    pki::{self, Chain, Pkcs12Profile, PrivateKey},
};

/// How long it is believed that a Secret is not there which nothing was heard of.
const ABSENCE: SignedDuration = SignedDuration::from_mins(1);

impl Reconciling<'_> {
    /// What stands in the Secret: read where it has changed since it was read last.
    pub(super) async fn secret(&self) -> Result<Option<Arc<SecretView>>, ReconcileError> {
        let name = &self.certificate.spec.secret_name;
        let key = (self.namespace(), name.clone());
        let stored = self.stored_secret(name);
        match self.context.secret_reads.get(&key) {
            Some(SecretRead::Present { version, view })
                if view.is_watched() && stored.as_ref().is_none_or(|it| !is_newer(&it.version, &version)) =>
            {
                return Ok(Some(view));
            }
            Some(SecretRead::Absent { since })
                if stored.is_none() && self.context.now().duration_since(since) < ABSENCE =>
            {
                return Ok(None);
            }
            _ => {}
        }
        let read = self.context.api::<Secret>(&key.0).get_opt(name).await;
        let Some(secret) = read.tried(|| format!("read Secret {}/{name}", key.0))? else {
            self.context.secret_reads.put(key, SecretRead::Absent { since: self.context.now() });
            return Ok(None);
        };
        let view = Arc::new(SecretView::parse(&secret));
        let version = secret.resource_version().unwrap_or_default();
        self.context.secret_reads.put(key, SecretRead::Present { version, view: Arc::clone(&view) });
        Ok(Some(view))
    }

    pub(super) async fn write_secret(&self, key: &PrivateKey, chain: &str) -> Result<(), ReconcileError> {
        let desired = self.desired()?;
        let namespace = self.namespace();
        let name = &self.certificate.spec.secret_name;
        let read =
            Chain::from_pem(chain.as_bytes()).map_err(|error| ReconcileError::NotYet(error.to_string()))?;
        let more = self.keystores(key, &read).await?;
        let mut secret =
            secret::certificate(self.certificate, read.leaf(), chain, key, desired.encoding, more)?;
        if self.context.settings.owns_secrets {
            secret.metadata.owner_references =
                objects::metadata::controller(self.certificate).map(|owner| vec![owner]);
        }
        let view = self.secret().await?;
        if let Some(type_) = view.as_ref().and_then(|view| view.type_.clone()) {
            // It can't be changed.
            secret.type_ = Some(type_);
        }
        let key = (namespace.clone(), name.clone());
        self.context.secret_reads.forget(&key);
        // What others have written is taken from them only where the Secret is known to be ours.
        let written =
            k8s::apply(&self.context.api::<Secret>(&namespace), ISSUING, &secret, view.is_some()).await?;
        let version = written.resource_version().unwrap_or_default();
        let view = Arc::new(SecretView::parse(&written));
        self.context.secret_reads.put(key, SecretRead::Present { version, view });
        let not_after = read.leaf().not_after;
        tracing::info!(secret = name, %not_after, "wrote the certificate");
        Ok(())
    }

    pub(super) async fn write_temporary(&self) -> Result<(), ReconcileError> {
        let desired = self.desired()?;
        let key = self.next_key(&self.next_key_name()).await?;
        let key = key.ok_or_else(|| ReconcileError::NotYet("the next private key is gone".to_owned()))?;
        let (names, addresses) = (&desired.csr.dns_names, &desired.csr.ip_addresses);
        let chain = pki::temporary(&key, names, addresses, self.context.now())?;
        self.write_secret(&key, &chain).await
    }

    /// Writes labels, annotations and further forms anew around the key and the chain that are there.
    pub(super) async fn rewrite_secret(&self) -> Result<(), ReconcileError> {
        let (namespace, name) = (self.namespace(), &self.certificate.spec.secret_name);
        let secret = self.context.api::<Secret>(&namespace).get(name).await;
        let secret = secret.tried(|| format!("read Secret {namespace}/{name}"))?;
        let data = secret.data.unwrap_or_default();
        let of = |key: &str| data.get(key).map(|value| value.0.clone()).unwrap_or_default();
        let key = zeroize::Zeroizing::new(of(crds::annotations::secret::TLS_KEY));
        let key = PrivateKey::from_pem(&key)?;
        let chain = String::from_utf8_lossy(&of(crds::annotations::secret::TLS_CRT)).into_owned();
        self.write_secret(&key, &chain).await
    }

    pub(super) async fn keystores(
        &self,
        key: &PrivateKey,
        chain: &Chain,
    ) -> Result<BTreeMap<String, Vec<u8>>, ReconcileError> {
        let mut stores = BTreeMap::new();
        let Some(wanted) = &self.certificate.spec.keystores else { return Ok(stores) };
        if let Some(jks) = wanted.jks.as_ref().filter(|store| store.create) {
            let password = self.password(jks.password.as_ref(), jks.password_secret_ref.as_ref()).await?;
            let alias = jks.alias.as_deref().filter(|alias| !alias.is_empty()).unwrap_or("certificate");
            let now: Timestamp = self.context.now();
            stores.insert(secret::JKS.to_owned(), pki::jks(&password, alias, key, chain, now)?);
        }
        if let Some(pkcs12) = wanted.pkcs12.as_ref().filter(|store| store.create) {
            let password =
                self.password(pkcs12.password.as_ref(), pkcs12.password_secret_ref.as_ref()).await?;
            let profile = match pkcs12.profile {
                Some(WireProfile::LegacyDES) => Pkcs12Profile::LegacyDes,
                Some(WireProfile::Modern2023) => Pkcs12Profile::Modern2023,
                Some(WireProfile::Modern2026) => Pkcs12Profile::Modern2026,
                Some(WireProfile::LegacyRC2) | None => Pkcs12Profile::LegacyRc2,
            };
            stores.insert(secret::PKCS12.to_owned(), pki::pkcs12(profile, &password, key, chain)?);
        }
        Ok(stores)
    }

    pub(super) async fn password(
        &self,
        literal: Option<&String>,
        reference: Option<&SecretKeySelector>,
    ) -> Result<String, ReconcileError> {
        let Some(reference) = reference else { return Ok(literal.cloned().unwrap_or_default()) };
        let key = reference.key.as_deref().unwrap_or_default();
        let value = self.context.secret_value(&self.namespace(), &reference.name, key).await?;
        if let Some(password) = value.and_then(|value| String::from_utf8(value.to_vec()).ok()) {
            return Ok(password);
        }
        let message = format!(
            "the Secret {:?} with the key store's password has no text under {key:?}: create it, and the key store is made",
            reference.name
        );
        let note = EventNote::warning("KeystorePasswordSecretNotFound", &*message);
        self.context.publish(ISSUING, &note, self.certificate);
        Err(ReconcileError::NotYet(message))
    }
}
