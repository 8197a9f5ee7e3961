//! Limits the requests to the API server that are in flight, in total and for each namespace, so that a tenant's thousands of objects
//! neither fill the server nor delay the requests of others. Must not know what is requested. Next: `contact.rs`, which uses it.

use std::task::{Context, Poll};

use futures::{FutureExt, future::BoxFuture};
use hyper::Request;
use tower::{Layer, Service};

use crate::{
    decision::fair_queue::{Lane, Slots},
    fair_slots::FairSlots,
    fence,
};

/// Limits the requests of a client. Cheap to clone; clones share the limit.
#[derive(Clone)]
pub(super) struct FairRequests(FairSlots);

impl FairRequests {
    /// Each request takes a slot until its response arrives.
    pub(super) fn new(slots: Slots) -> Self {
        Self(FairSlots::new(slots))
    }
}

impl<S> Layer<S> for FairRequests {
    type Service = Fair<S>;

    fn layer(&self, inner: S) -> Fair<S> {
        Fair { inner, slots: self.0.clone() }
    }
}

/// A service whose requests wait for their turn.
pub(super) struct Fair<S> {
    inner: S,
    slots: FairSlots,
}

impl<B, S> Service<Request<B>> for Fair<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let namespace = namespace(request.uri().path()).to_owned();
        // Nothing is sent before this is polled.
        let response = self.inner.call(request);
        let slots = self.slots.clone();
        async move {
            let _permit = slots.acquire(Lane { namespace, server: None }).await;
            fence::guard(response).await
        }
        .boxed()
    }
}

/// The namespace in the path of a request; empty if it has none.
fn namespace(path: &str) -> &str {
    let mut segments = path.split('/');
    segments.find(|segment| *segment == "namespaces").and_then(|_| segments.next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_is_read_from_the_path() {
        for (path, expected) in [
            ("/api/v1/namespaces/a/secrets/b", "a"),
            ("/apis/acme.cert-manager.io/v1/namespaces/a/orders/namespaces/status", "a"),
            ("/apis/cert-manager.io/v1/clusterissuers/a", ""),
            ("/api/v1/namespaces", ""),
            ("/version", ""),
        ] {
            assert_eq!(namespace(path), expected, "{path}");
        }
    }
}
