//! Asks ACME servers when Certificates should be renewed, beside their reconciles: a server that does not respond keeps none from being
//! reconciled.
//!
//! Knows how a server is asked; must not know when, or what its response means: `decision/certificate/renewal_information.rs`.

use std::sync::Arc;

use futures::stream::poll_fn;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{super::runner::DEADLINE, Reconciler};
use crate::{
    cache::{AnyIssuer, IssuerLookup},
    context::Context,
    decision::{
        certificate::{FetchRenewalInfo, FetchedRenewalInfo},
        fair_queue::{Lane, Slots},
    },
    k8s::dispatch,
    memory::RenewalInfoRequest,
};

/// How many requests are in flight.
const SLOTS: Slots = Slots::many(512);

/// The number of concurrent requests for renewal information at one ACME server.
pub const MAX_CONCURRENT_RENEWAL_INFO: u32 = 32;

impl Reconciler<'_> {
    /// What the server has responded since it was asked. Otherwise it is asked, and its response enqueues the Certificate.
    pub(super) fn fetch_renewal_info(&self, fetch: FetchRenewalInfo) -> FetchedRenewalInfo {
        let FetchRenewalInfo { identifier } = fetch;
        let request = RenewalInfoRequest {
            namespace: self.namespace(),
            name: self.certificate.metadata.name.clone().unwrap_or_default(),
            uid: self.uid(),
            identifier,
        };
        self.context.memory.renewal_info.take_or_request(request).unwrap_or(FetchedRenewalInfo::Awaited)
    }
}

/// Sends the requests of all Certificates.
pub(in super::super) async fn fetch_renewal_info(context: Arc<Context>) {
    let Some(mut queue) = context.memory.renewal_info.take_queue() else { return };
    let lane = |request: &Arc<RenewalInfoRequest>| {
        let issuer = issuer(request, &context);
        let server = issuer.and_then(|issuer| Some(issuer.config.acme()?.server.clone()));
        Lane { namespace: request.namespace.clone(), server }
    };
    let begin = |request: &Arc<RenewalInfoRequest>| {
        let (request, context) = (Arc::clone(request), Arc::clone(&context));
        let fetching = fetch(Arc::clone(&request), Arc::clone(&context));
        let fetching = AbortOnDropHandle::new(tokio::spawn(timeout(DEADLINE, fetching)));
        Some(async move {
            let fetched = fetching.await.ok().and_then(Result::ok).unwrap_or(FetchedRenewalInfo::NoAccount);
            let RenewalInfoRequest { namespace, name, .. } = &*request;
            context.memory.renewal_info.answer(&request, fetched);
            context.memory.settled.forget(namespace, name);
            context.cache.certificates.enqueuer().enqueue_named(name, Some(namespace));
            None
        })
    };
    dispatch(poll_fn(|task| queue.poll_recv(task)), SLOTS, lane, begin).await;
}

async fn fetch(request: Arc<RenewalInfoRequest>, context: Arc<Context>) -> FetchedRenewalInfo {
    let Some(issuer) = issuer(&request, &context) else { return FetchedRenewalInfo::NoAccount };
    match context.account(&issuer, &request.namespace).await {
        Ok(account) => FetchedRenewalInfo::Response(account.renewal_info(&request.identifier).await),
        Err(_) => FetchedRenewalInfo::NoAccount,
    }
}

fn issuer(request: &RenewalInfoRequest, context: &Context) -> Option<Box<AnyIssuer>> {
    let certificate = context.cache.certificates.get(&request.namespace, &request.name)?;
    match context.cache.issuer(&certificate.spec.issuer_ref, &request.namespace) {
        IssuerLookup::Found(issuer) => Some(issuer),
        IssuerLookup::Foreign | IssuerLookup::UnknownKind | IssuerLookup::Missing => None,
    }
}
