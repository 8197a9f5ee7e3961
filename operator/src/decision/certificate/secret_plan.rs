//! Writes of a Certificate's Secret: everything around key and chain is decided here.

use std::sync::Arc;

use crds::annotations::request::ISSUE_TEMPORARY_CERTIFICATE;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;

use super::{
    Action, Deciding, DesiredCertificate, Finding, KeyPair, Keystores, SecretView, View,
    prerequisite::{Prerequisite, Stop},
};
use crate::{
    objects::{metadata, secret},
    pki::{Chain, ChainError, KeyEncoding, PrivateKey},
};

/// Everything that is decided about a write of the Certificate's Secret, except the certificate in it.
#[derive(Clone, Debug)]
pub struct SecretPlan {
    /// What goes to `tls.key`.
    pub key: Arc<PrivateKey>,
    /// How the key is encoded there.
    pub encoding: KeyEncoding,
    /// What goes to `ca.crt`, PEM. If there is nothing, one that a user has put there stays, as in cert-manager.
    pub ca: Option<Vec<u8>>,
    /// The keystores to add.
    pub keystores: Keystores,
    /// The type. That of an existing Secret is immutable, so it is kept.
    pub type_: String,
    /// The Certificate, if the Secret is to be deleted with it.
    pub owner: Option<OwnerReference>,
    /// Whether fields of other field managers are taken over: only in an existing Secret that was admitted as this Certificate's. One that
    /// is created meanwhile is a conflict.
    pub force: bool,
}

/// A certificate chain with its exact text, because rewriting a Secret must not change `tls.crt`.
#[derive(Clone, Debug)]
pub struct CertificateChain {
    pem: String,
    parsed: Chain,
}

impl CertificateChain {
    /// Parses PEM.
    ///
    /// # Errors
    /// It is not one chain of certificates.
    pub fn from_pem(pem: String) -> Result<Self, ChainError> {
        let parsed = Chain::from_pem(pem.as_bytes())?;
        Ok(Self { pem, parsed })
    }

    /// The text, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificates.
    pub fn parsed(&self) -> &Chain {
        &self.parsed
    }
}

impl From<Chain> for CertificateChain {
    fn from(parsed: Chain) -> Self {
        Self { pem: parsed.to_pem(), parsed }
    }
}

impl Deciding<'_> {
    /// Writes a chain that was issued for a key.
    pub(super) fn write_secret(
        &mut self,
        desired: &DesiredCertificate,
        key: &Arc<PrivateKey>,
        chain: &Chain,
        ca: Option<Vec<u8>>,
        why: Finding,
    ) -> Result<(), Stop> {
        let plan = self.plan_secret(desired, key, ca)?;
        self.actions.push(Action::WriteSecret { plan, chain: Box::new(chain.clone().into()), why });
        Ok(())
    }

    /// Writes what is around key and chain, which stay as they are in the Secret.
    pub(super) fn rewrite_secret(&mut self, desired: &DesiredCertificate, why: Finding) -> Result<(), Stop> {
        let view = self.view;
        let KeyPair { key, chain, ca } = view.obtained.key_pair.as_ref().ok_or(Prerequisite::KeyPair)?;
        let plan = self.plan_secret(desired, key, ca.clone())?;
        self.actions.push(Action::WriteSecret { plan, chain: Box::new(chain.clone()), why });
        Ok(())
    }

    /// Plans a temporary certificate, if the Certificate asks for one and the Secret has none.
    pub(super) fn plan_temporary(
        &mut self,
        desired: &DesiredCertificate,
        key: &Arc<PrivateKey>,
    ) -> Result<Option<Action>, Stop> {
        let requested = self.view.certificate.annotations().get(ISSUE_TEMPORARY_CERTIFICATE);
        if requested.is_none_or(|value| value != "true")
            || self.view.secret.and_then(SecretView::leaf).is_some()
        {
            return Ok(None);
        }
        Ok(Some(Action::WriteTemporary {
            plan: self.plan_secret(desired, key, None)?,
            dns_names: desired.csr.dns_names.clone(),
            ip_addresses: desired.csr.ip_addresses.clone(),
        }))
    }

    pub(super) fn keystores(&self) -> Result<Keystores, Prerequisite> {
        let View { certificate, obtained, secret, .. } = self.view;
        Keystores::parse(&certificate.spec, obtained.passwords.as_ref(), *secret)
    }

    fn plan_secret(
        &mut self,
        desired: &DesiredCertificate,
        key: &Arc<PrivateKey>,
        ca: Option<Vec<u8>>,
    ) -> Result<Box<SecretPlan>, Stop> {
        let view = self.view;
        let keystores = self.keystores()?;
        let existing_type = view.secret.and_then(|secret| secret.type_.clone());
        Ok(Box::new(SecretPlan {
            key: Arc::clone(key),
            encoding: desired.encoding,
            ca,
            keystores,
            type_: existing_type.unwrap_or_else(|| secret::TYPE.to_owned()),
            owner: if view.set_secret_owner_ref { metadata::controller(view.certificate) } else { None },
            force: view.secret.is_some(),
        }))
    }
}
