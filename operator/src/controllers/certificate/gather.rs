//! Reads what a decision about a Certificate depends on: from caches, and from the API server or the CA only if a decision asks for it.

use std::sync::Arc;

use crds::{
    acme::{Order, State},
    certmanager::{Certificate, CertificateRequest},
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{ResourceExt, api::ObjectMeta};

use super::{super::chains::with_chain, Reconciler};
use crate::{
    cache::{AnyIssuer, IssuerLookup},
    context::Context,
    decision::{
        certificate::{self, Decision, IssuerView, NextKey, Obtained, Pace, Prerequisite, SecretView, View},
        ingress_controllers::{ClassLookup, ISTIO_NAMESPACE, Peculiarity, advice_once_issued},
    },
    error::ReconcileError,
    objects::{self, metadata::controller_of_kind, names},
    pki::PrivateKey,
};

/// How many names of CertificateRequests are tried that belong to something else.
const MOST_TAKEN_NAMES: i64 = 8;

/// The requests of a Certificate and the Order of the latest one, as they were in the cache when its reconcile began. They are packed
/// there, so each is read once.
pub(super) struct Seen {
    /// The latest revision last.
    pub(super) requests: Vec<Arc<CertificateRequest>>,
    pub(super) order: Option<Arc<Order>>,
}

/// What was read for a decision. It is dropped with the reconcile.
pub(super) struct Observed {
    secret: Option<Arc<SecretView>>,
    requests: Vec<Arc<CertificateRequest>>,
    order: Option<Arc<Order>>,
    next_request: (String, Option<Arc<CertificateRequest>>),
    is_requested: bool,
    pace: Option<Pace>,
    rivals: Vec<Arc<Certificate>>,
    next_key_name: String,
    next_key: Option<Arc<PrivateKey>>,
    past_key: Option<String>,
    issuer: Option<Box<AnyIssuer>>,
    problem: Option<String>,
    advice: Option<String>,
    obtained: Obtained,
}

impl Observed {
    fn view<'a>(&'a self, certificate: &'a Certificate, context: &Context) -> View<'a> {
        View {
            certificate,
            secret: self.secret.as_deref(),
            requests: &self.requests,
            order_reason: self.order.as_ref().and_then(|order| order.status.as_ref()?.reason.as_deref()),
            // Another issuer's controller may have asked its CA.
            order_counts: self.order.as_ref().map_or(self.issuer.is_none(), |order| {
                let status = order.status.as_ref();
                let is_placed = status.and_then(|it| it.url.as_deref()).is_some_and(|url| !url.is_empty());
                is_placed && status.is_some_and(|it| it.state != Some(State::Expired))
            }),
            next_request_name: &self.next_request.0,
            left_behind: self.next_request.1.as_deref(),
            is_requested: self.is_requested,
            rivals: &self.rivals,
            next_key: NextKey { secret_name: &self.next_key_name, key: self.next_key.as_ref() },
            past_key: self.past_key.as_deref(),
            issuer: self.issuer.as_ref().and_then(|issuer| {
                let source = issuer.config.acme()?.renewal_information_source;
                Some(IssuerView { ready: issuer.is_ready(), renewal_information_source: source })
            }),
            unsupported: self.issuer.as_ref().and_then(|issuer| {
                let config = &issuer.config;
                if config.acme().is_none() { Some(config.type_name()) } else { None }
            }),
            pace: self.pace,
            restored: context.memory.restored.get(certificate.namespace().unwrap_or_default().as_str()),
            problem: self.problem.as_deref(),
            advice: self.advice.as_deref(),
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
    pub(super) async fn gather_and_decide(&self, seen: Seen) -> Result<Decision, ReconcileError> {
        let mut observed = self.gather(seen).await?;
        loop {
            match certificate::decide(&observed.view(self.certificate, self.context)) {
                Ok(decision) => return Ok(decision),
                Err(prerequisite) => self.obtain(prerequisite, &mut observed).await?,
            }
        }
    }

    async fn gather(&self, seen: Seen) -> Result<Observed, ReconcileError> {
        let secret = self.secret().await?;
        let Seen { requests, order } = seen;
        let pace = self.pace(&requests);
        let requests = self.with_next_chain(requests).await?;
        let next_key_name = self.next_key_name();
        let next_request = self.next_request();
        let now = self.context.now();
        Ok(Observed {
            secret,
            order,
            requests,
            is_requested: self.context.memory.expectations.is_pending(&self.request_id(&next_request.0), now),
            pace,
            next_request,
            rivals: self.rivals(),
            next_key: self.next_key(&next_key_name).await?,
            next_key_name,
            past_key: self.past_key_name(),
            issuer: self.issuer(),
            problem: self.problem(),
            advice: self.advice(),
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
                observed.obtained.renewal_info = Some(self.fetch_renewal_info(fetch));
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

    /// Why the last reconcile failed.
    pub(super) fn problem(&self) -> Option<String> {
        self.context.memory.problems.get(&self.uid()).map(|problem| problem.message)
    }

    /// What to say if the ingress controller may not find the Secret.
    pub(super) fn advice(&self) -> Option<String> {
        let cache = &self.context.cache;
        // Ingresses are packed: most clusters need not read any.
        if !cache.has_class_with(Peculiarity::OwnSecrets) {
            return None;
        }
        let owner = controller_of_kind::<Ingress>(&self.certificate.metadata)?;
        // Another Certificate provides the Secret where it is read.
        if !cache.certificates_of_secret(ISTIO_NAMESPACE, &self.certificate.spec.secret_name).is_empty() {
            return None;
        }
        let ingress = cache.ingresses.get(&self.namespace(), &owner.name)?;
        match cache.class_of(&ingress)? {
            ClassLookup::Known(Some(peculiarity)) => advice_once_issued(peculiarity, &self.namespace()),
            ClassLookup::Known(None) | ClassLookup::Unknown => None,
        }
    }

    /// The requests in a row, also those from before this process started, as far as they still exist.
    pub(super) fn pace(&self, requests: &[Arc<CertificateRequest>]) -> Option<Pace> {
        let known = self.context.memory.paces.get(&self.uid());
        known.or_else(|| {
            // A failed attempt has its own backoff.
            let status =
                self.certificate.status.as_ref().filter(|it| it.failed_issuance_attempts.is_none())?;
            let requested = requests.last()?.creation_timestamp()?.0;
            Pace::of_another_process(status.revision?, requested, self.context.now())
        })
    }

    fn issuer(&self) -> Option<Box<AnyIssuer>> {
        match self.context.cache.issuer(&self.certificate.spec.issuer_ref, &self.namespace()) {
            IssuerLookup::Found(issuer) => Some(issuer),
            IssuerLookup::Foreign | IssuerLookup::UnknownKind | IssuerLookup::Missing => None,
        }
    }

    /// What the cache has now.
    pub(super) fn look(&self) -> Seen {
        let requests = self.requests();
        let order = requests.last().and_then(|latest| self.context.cache.order_of(latest));
        Seen { requests, order }
    }

    /// The CertificateRequests that the Certificate owns, the latest revision last.
    pub(super) fn requests(&self) -> Vec<Arc<CertificateRequest>> {
        let (name, namespace) = (self.certificate.name_any(), self.namespace());
        let names = self.context.cache.indexes.requests_by_certificate.names(&namespace, &name);
        let found = names.iter().filter_map(|name| self.context.cache.requests.get(&namespace, name));
        let mut requests: Vec<_> = found.filter(|request| self.controls(&request.metadata)).collect();
        requests.sort_by_cached_key(|it| (objects::certificate_request::revision(it), it.name_any()));
        requests
    }

    /// Adds the chain to the CertificateRequest of the next revision, which may be on its way to the Secret.
    async fn with_next_chain(
        &self,
        mut requests: Vec<Arc<CertificateRequest>>,
    ) -> Result<Vec<Arc<CertificateRequest>>, ReconcileError> {
        let next = certificate::next_revision(self.certificate);
        for request in &mut requests {
            if objects::certificate_request::revision(request) == Some(next) {
                *request = with_chain(Arc::clone(request), self.context).await?;
            }
        }
        Ok(requests)
    }

    /// The name of the next CertificateRequest, and what has that name, although the Certificate does not own it. A name that
    /// belongs to something else is not used.
    fn next_request(&self) -> (String, Option<Arc<CertificateRequest>>) {
        let (name, namespace) = (self.certificate.name_any(), self.namespace());
        let revision = certificate::next_revision(self.certificate);
        let first = names::certificate_request(&name, revision);
        let others = (2..=MOST_TAKEN_NAMES).map(|number| names::certificate_request(&first, number));
        for name in std::iter::once(first.clone()).chain(others) {
            let existing = self.context.cache.requests.get(&namespace, &name);
            let other = existing.filter(|existing| !self.controls(&existing.metadata));
            if other.as_ref().is_none_or(|other| certificate::is_left_behind(other, self.certificate)) {
                return (name, other);
            }
        }
        (first, None)
    }

    fn controls(&self, metadata: &ObjectMeta) -> bool {
        controller_of_kind::<Certificate>(metadata).map(|owner| owner.uid.as_str())
            == self.certificate.uid().as_deref()
    }

    /// Other Certificates with the same Secret.
    pub(super) fn rivals(&self) -> Vec<Arc<Certificate>> {
        let (name, namespace) = (self.certificate.name_any(), self.namespace());
        let secret = &self.certificate.spec.secret_name;
        let mut names = self.context.cache.certificates_of_secret(&namespace, secret);
        names.retain(|other| *other != name);
        let others = names.iter().filter_map(|name| self.context.cache.certificates.get(&namespace, name));
        others.filter(|other| other.spec.secret_name == *secret).collect()
    }
}
