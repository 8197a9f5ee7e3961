//! The Certificate's Secret: read when it has changed, and written as planned.

use std::{collections::BTreeMap, sync::Arc};

use crds::annotations::secret::{CA_CRT, TLS_CRT, TLS_KEY};
use jiff::SignedDuration;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt;
use zeroize::Zeroizing;

use super::{ISSUING_MANAGER, Reconciler, next_key, slow};
use crate::{
    cache::SecretRead,
    decision::certificate::{
        CertificateChain, JksPlan, KeyPair, Keystores, Pkcs12Plan, SecretPlan, SecretView,
    },
    error::{ReconcileError, Tried},
    k8s::{self, is_newer},
    objects::{managed_fields, secret},
    pki::{self, Authorities, MAX_FAST_CHAIN_PEM_BYTES, MAX_FAST_KEY_PEM_BYTES, PrivateKey},
};

/// How long a Secret without a watch event is assumed to be still missing.
const ABSENCE: SignedDuration = SignedDuration::from_mins(1);

/// Whether it takes long to parse a Secret.
pub(super) fn is_slow(secret: &Secret) -> bool {
    let is_longer = |key: &str, most: usize| {
        secret.data.as_ref().and_then(|data| data.get(key)).is_some_and(|value| value.0.len() > most)
    };
    is_longer(TLS_KEY, MAX_FAST_KEY_PEM_BYTES)
        || is_longer(TLS_CRT, MAX_FAST_CHAIN_PEM_BYTES)
        || is_longer(CA_CRT, MAX_FAST_CHAIN_PEM_BYTES)
}

impl Reconciler<'_> {
    /// What the Secret contains. It is read only if it has changed since the last read.
    pub(super) async fn secret(&self) -> Result<Option<Arc<SecretView>>, ReconcileError> {
        let name = &self.certificate.spec.secret_name;
        let key = (self.namespace(), name.clone());
        let stored = self.stored_secret(name);
        match self.context.cache.secret_reads.get(&key) {
            Some(SecretRead::Present { version, view })
                if view.is_watched() && stored.as_ref().is_none_or(|it| !is_newer(&it.version, &version)) =>
            {
                return Ok(Some(view));
            }
            Some(SecretRead::Absent { since })
                if stored.is_none()
                    // One without the label may be restored from a backup.
                    && self.context.memory.restored.get(&key.0).is_none_or(|restored| restored < since)
                    && self.context.now().duration_since(since) < ABSENCE =>
            {
                return Ok(None);
            }
            _ => {}
        }
        let read = self.context.kube.api::<Secret>(&key.0).get_opt(name).await;
        let Some(secret) = read.tried(|| format!("read Secret {}/{name}", key.0))? else {
            self.context.cache.secret_reads.put(key, SecretRead::Absent { since: self.context.now() });
            return Ok(None);
        };
        Ok(Some(self.remember_secret(secret).await?))
    }

    async fn remember_secret(&self, secret: Secret) -> Result<Arc<SecretView>, ReconcileError> {
        let version = secret.resource_version().unwrap_or_default();
        let view = Arc::new(slow::run(is_slow(&secret), move || SecretView::parse(&secret)).await?);
        let read = SecretRead::Present { version, view: Arc::clone(&view) };
        self.context
            .cache
            .secret_reads
            .put((self.namespace(), self.certificate.spec.secret_name.clone()), read);
        Ok(view)
    }

    /// The key and the chain in the Secret, which must still be usable when they are written back.
    pub(super) async fn read_key_pair(&self) -> Result<KeyPair, ReconcileError> {
        let (namespace, name) = (self.namespace(), &self.certificate.spec.secret_name);
        let secret = self.context.kube.api::<Secret>(&namespace).get(name).await;
        let secret = secret.tried(|| format!("read Secret {namespace}/{name}"))?;
        let owned = managed_fields::members(secret.managed_fields(), ISSUING_MANAGER, &["data"]);
        let mut data = secret.data.unwrap_or_default();
        let mut value = |key: &str| data.remove(key).map(|value| value.0).unwrap_or_default();
        let key = next_key::parse(Zeroizing::new(value(TLS_KEY))).await?;
        let key = key.map_err(|error| self.invalid_secret(TLS_KEY, &error))?;
        let pem = String::from_utf8_lossy(&value(TLS_CRT)).into_owned();
        let chain = CertificateChain::from_pem(pem).map_err(|error| self.invalid_secret(TLS_CRT, &error))?;
        let ca = owned.iter().any(|key| key == CA_CRT).then(|| value(CA_CRT));
        Ok(KeyPair { key: Arc::new(key), chain, ca: ca.filter(|ca| !ca.is_empty()) })
    }

    pub(super) fn invalid_secret(&self, data_key: &str, error: &dyn std::error::Error) -> ReconcileError {
        let secret = format!("{}/{}", self.namespace(), self.certificate.spec.secret_name);
        ReconcileError::Invalid {
            what: format!("{data_key} in the Secret {secret:?}"),
            why: error.to_string(),
        }
    }

    pub(super) async fn write_secret(
        &self,
        plan: SecretPlan,
        chain: &CertificateChain,
    ) -> Result<(), ReconcileError> {
        let SecretPlan { key, encoding, ca, keystores, type_, owner, force } = plan;
        let Keystores { jks, pkcs12, outdated, .. } = keystores;
        let authorities = ca.as_deref().map(Authorities::from_pem).unwrap_or_default();
        let keystores = self.create_keystores(jks, pkcs12, &key, chain, &authorities)?;
        let leaf = chain.parsed().leaf();
        let mut secret = secret::certificate(self.certificate, leaf, chain.pem(), &key, encoding, keystores)?;
        secret.metadata.owner_references = owner.map(|owner| vec![owner]);
        secret::keep_outdated(&mut secret, outdated);
        secret.type_ = Some(type_);
        secret.data.get_or_insert_default().extend(ca.map(|ca| (CA_CRT.to_owned(), ByteString(ca))));
        let namespace = self.namespace();
        self.context
            .cache
            .secret_reads
            .forget(&(namespace.clone(), self.certificate.spec.secret_name.clone()));
        let secrets = self.context.kube.api::<Secret>(&namespace);
        let written = k8s::apply(&secrets, ISSUING_MANAGER, &secret, force).await?;
        self.remember_secret(written).await?;
        Ok(())
    }

    fn create_keystores(
        &self,
        jks: Option<JksPlan>,
        pkcs12: Option<Pkcs12Plan>,
        key: &PrivateKey,
        chain: &CertificateChain,
        authorities: &Authorities,
    ) -> Result<BTreeMap<String, Vec<u8>>, ReconcileError> {
        let mut data = BTreeMap::new();
        if let Some(JksPlan { alias, password }) = jks {
            let (password, now) = (password.reveal(), self.context.now());
            let store = pki::jks(password, &alias, key, chain.parsed(), authorities, now)?;
            data.insert(secret::JKS.to_owned(), store);
            if !authorities.is_empty() {
                data.insert(secret::JKS_TRUST.to_owned(), pki::jks_trust(password, authorities, now)?);
            }
        }
        if let Some(Pkcs12Plan { profile, password }) = pkcs12 {
            let password = password.reveal();
            let store = pki::pkcs12(profile, password, key, chain.parsed(), authorities)?;
            data.insert(secret::PKCS12.to_owned(), store);
            if !authorities.is_empty() {
                let store = pki::pkcs12_trust(profile, password, authorities)?;
                data.insert(secret::PKCS12_TRUST.to_owned(), store);
            }
        }
        Ok(data)
    }
}
