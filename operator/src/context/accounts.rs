//! The ACME account of an issuer, as controllers use it.

use std::sync::Arc;

use crds::acme::AcmeIssuer;

use super::Context;
use crate::{
    accounts::IssuerKey,
    acme::{Account, AccountKey},
    cache::AnyIssuer,
    error::ReconcileError,
    pki::{KeyError, PrivateKey},
};

impl Context {
    /// The account of an issuer that is ready, for an object in a namespace.
    ///
    /// # Errors
    /// The issuer is not ready, or its key can't be read.
    pub async fn account(&self, issuer: &AnyIssuer, namespace: &str) -> Result<Account, ReconcileError> {
        if let Some(account) = self.accounts.get(&issuer.key, &issuer.version) {
            return Ok(account.for_namespace(namespace));
        }
        let waiting =
            |why: &str| ReconcileError::Waiting { what: issuer.key.to_string(), why: why.to_owned() };
        let acme = issuer.config.acme().ok_or_else(|| waiting("it is not an ACME issuer"))?;
        let url = issuer.status.acme.as_ref().and_then(|acme| acme.uri.clone()).filter(|_| issuer.is_ready());
        let url = url.ok_or_else(|| waiting("it is not ready, see its status"))?;
        let key = self.account_key(acme, &issuer.namespace).await?;
        let Some(Ok(key)) = key else {
            return Err(waiting("the private key of its account can't be read, see its status"));
        };
        let account = Account::from_url(self.accounts.server(acme)?, Arc::new(AccountKey::new(key)), url);
        self.accounts.put(issuer.key.clone(), issuer.version.clone(), account.clone());
        Ok(account.for_namespace(namespace))
    }

    /// The private key of an issuer's account: `None` if it does not exist; the inner error if it can't be read.
    ///
    /// # Errors
    /// The API server rejects the read.
    pub async fn account_key(
        &self,
        acme: &AcmeIssuer,
        namespace: &str,
    ) -> Result<Option<Result<PrivateKey, KeyError>>, ReconcileError> {
        let reference = &acme.private_key_secret_ref;
        let data_key = acme.account_key_data_key();
        let data = self.kube.secret_value(namespace, &reference.name, data_key).await?;
        Ok(data.map(|data| PrivateKey::from_pem(&data).and_then(PrivateKey::for_account)))
    }

    /// Has an issuer find or register its account again, because the server no longer knows it.
    pub fn recover_account(&self, key: &IssuerKey) {
        self.accounts.forget(key);
        self.memory.lost_accounts.put(key.clone(), ());
        self.cache.enqueue_issuer(key);
    }
}
