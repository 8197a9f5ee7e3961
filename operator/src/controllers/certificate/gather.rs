//! Reads what a decision about a Certificate depends on: from caches, and from the API server or the CA only if a decision asks for it.

use std::sync::Arc;

use crds::{
    acme::Order,
    certmanager::{Certificate, CertificateRequest},
    meta::SecretKeySelector,
};
use kube::{ResourceExt, api::ObjectMeta};

use super::Reconciler;
use crate::{
    cache::{AnyIssuer, IssuerLookup},
    context::Context,
    decision::certificate::{
        self, Decision, FetchRenewalInfo, FetchedRenewalInfo, IssuerView, NextKey, Obtained, Password,
        Passwords, Prerequisite, SecretView, View,
    },
    error::ReconcileError,
    objects::{metadata::controller_of_kind, names},
    pki::PrivateKey,
};

/// How many past CertificateRequests are found beyond those that the history limit keeps, so that they can be deleted.
const HISTORY: i64 = 8;

/// What was read for a decision. It is dropped with the reconcile.
pub(super) struct Observed {
    secret: Option<Arc<SecretView>>,
    requests: Vec<Arc<CertificateRequest>>,
    order: Option<Arc<Order>>,
    rivals: Vec<Arc<Certificate>>,
    next_key_name: String,
    next_key: Option<Arc<PrivateKey>>,
    past_key: Option<String>,
    issuer: Option<Box<AnyIssuer>>,
    obtained: Obtained,
}

impl Observed {
    fn view<'a>(&'a self, certificate: &'a Certificate, context: &Context) -> View<'a> {
        View {
            certificate,
            secret: self.secret.as_deref(),
            requests: &self.requests,
            order_reason: self.order.as_ref().and_then(|order| order.status.as_ref()?.reason.as_deref()),
            rivals: &self.rivals,
            next_key: NextKey { secret_name: &self.next_key_name, key: self.next_key.as_ref() },
            past_key: self.past_key.as_deref(),
            issuer: self.issuer.as_ref().and_then(|issuer| {
                let source = issuer.config.acme()?.renewal_information_source;
                Some(IssuerView { ready: issuer.is_ready(), renewal_information_source: source })
            }),
            obtained: &self.obtained,
            backoff: context.settings.backoff,
            set_secret_owner_ref: context.settings.set_secret_owner_ref,
            started: context.memory.started,
            now: context.now(),
        }
    }
}

impl Reconciler<'_> {
    /// Decides with what is cached, and obtains what a decision asks for until it is complete.
    pub(super) async fn gather_and_decide(&self) -> Result<Decision, ReconcileError> {
        let mut observed = self.gather().await?;
        loop {
            match certificate::decide(&observed.view(self.certificate, self.context)) {
                Ok(decision) => return Ok(decision),
                Err(prerequisite) => self.obtain(prerequisite, &mut observed).await?,
            }
        }
    }

    async fn gather(&self) -> Result<Observed, ReconcileError> {
        let secret = self.secret().await?;
        let requests = self.requests();
        let next_key_name = self.next_key_name();
        Ok(Observed {
            secret,
            order: self.order(&requests),
            requests,
            rivals: self.rivals(),
            next_key: self.next_key(&next_key_name).await?,
            next_key_name,
            past_key: self.past_key_name(),
            issuer: self.issuer(),
            obtained: Obtained::default(),
        })
    }

    /// Obtains what a decision has asked for: afterwards it is `Some`, so it is not asked for again.
    async fn obtain(
        &self,
        prerequisite: Prerequisite,
        observed: &mut Observed,
    ) -> Result<(), ReconcileError> {
        match prerequisite {
            Prerequisite::RenewalInfo(fetch) => {
                let fetched = self.fetch_renewal_info(observed.issuer.as_deref(), &fetch).await;
                observed.obtained.renewal_info = Some(fetched);
            }
            Prerequisite::NextKey { secret_name, source } => {
                observed.next_key = Some(self.create_next_key(&secret_name, source).await?);
            }
            Prerequisite::KeyPair => observed.obtained.key_pair = Some(self.read_key_pair().await?),
            Prerequisite::KeystorePasswords(references) => {
                observed.obtained.passwords = Some(self.read_passwords(references).await?);
            }
        }
        Ok(())
    }

    /// Asks the issuer's server when to renew. That it can't be asked must not delay anything else.
    async fn fetch_renewal_info(
        &self,
        issuer: Option<&AnyIssuer>,
        fetch: &FetchRenewalInfo,
    ) -> FetchedRenewalInfo {
        let Some(issuer) = issuer else { return FetchedRenewalInfo::NoAccount };
        match self.context.account(issuer).await {
            Ok(account) => FetchedRenewalInfo::Response(account.renewal_info(&fetch.identifier).await),
            Err(_) => FetchedRenewalInfo::NoAccount,
        }
    }

    async fn read_passwords(&self, references: Vec<SecretKeySelector>) -> Result<Passwords, ReconcileError> {
        let mut passwords = Vec::new();
        for reference in references {
            let key = reference.key.as_deref().unwrap_or_default();
            let value = self.context.kube.secret_value(&self.namespace(), &reference.name, key).await?;
            passwords.push((reference, value.and_then(|value| Password::from_bytes(&value))));
        }
        Ok(Passwords(passwords))
    }

    fn issuer(&self) -> Option<Box<AnyIssuer>> {
        match self.context.cache.issuer(&self.certificate.spec.issuer_ref, &self.namespace()) {
            IssuerLookup::Found(issuer) => Some(issuer),
            IssuerLookup::Foreign | IssuerLookup::Missing => None,
        }
    }

    /// The CertificateRequests of the next revision, the issued one, and some before it.
    pub(super) fn requests(&self) -> Vec<Arc<CertificateRequest>> {
        let (name, namespace) = (self.certificate.name_any(), self.namespace());
        let revision =
            self.certificate.status.as_ref().and_then(|status| status.revision).unwrap_or_default();
        let kept = i64::from(self.certificate.spec.revision_history_limit.unwrap_or(1));
        let oldest = revision.saturating_sub(kept.saturating_add(HISTORY)).max(1);
        (oldest..=revision.saturating_add(1))
            .filter_map(|revision| {
                let name = names::certificate_request(&name, revision);
                self.context.cache.requests.get(&namespace, &name)
            })
            .filter(|request| self.controls(&request.metadata))
            .collect()
    }

    fn controls(&self, metadata: &ObjectMeta) -> bool {
        controller_of_kind::<Certificate>(metadata).map(|owner| owner.uid.as_str())
            == self.certificate.uid().as_deref()
    }

    /// The Order of the latest request.
    pub(super) fn order(&self, requests: &[Arc<CertificateRequest>]) -> Option<Arc<Order>> {
        let request = requests.last()?;
        let name = names::order(&request.name_any(), &request.spec.request.0);
        self.context.cache.orders.get(&self.namespace(), &name)
    }

    /// Other Certificates with the same Secret.
    pub(super) fn rivals(&self) -> Vec<Arc<Certificate>> {
        let (name, namespace) = (self.certificate.name_any(), self.namespace());
        let secret = &self.certificate.spec.secret_name;
        let mut names = self.context.cache.indexes.certificates_by_secret.names(&namespace, secret);
        names.retain(|other| *other != name);
        names.sort();
        let others = names.iter().filter_map(|name| self.context.cache.certificates.get(&namespace, name));
        others.filter(|other| other.spec.secret_name == *secret).collect()
    }
}
