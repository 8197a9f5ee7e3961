//! A model of the API server: objects, versions, watches, and field owners, in memory, without authentication and admission.
//!
//! It is held to the real one: `tests/apiserver_model.rs` sends the same requests to both. What the operator never asks for is missing,
//! such as other formats than JSON, tables, and dry runs. Next: `request.rs` for what a request means, `state.rs` for what it does.

mod answer;
mod apply;
mod fields;
mod kinds;
mod paths;
mod request;
mod schema;
mod selector;
mod state;
mod validation;
mod watch;
mod write;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Collected};
use hyper::{Request, Response};
use jiff::Timestamp;
use kube::{Client, client::Body};
use tower::service_fn;

use self::{
    answer::{Answer, ResponseBody},
    state::State,
};

/// Where the model gets the time from, UTC.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// When, UTC.
    pub at: Timestamp,
    /// The method and the path, without the query.
    pub request: String,
    /// The status of the answer.
    pub status: u16,
}

impl Exchange {
    /// Whether an object was to be changed.
    pub fn is_write(&self) -> bool {
        !self.request.starts_with("GET ")
    }
}

/// A model of the API server. Clones share their objects.
#[derive(Clone)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    exchanges: Arc<Mutex<Vec<Exchange>>>,
}

impl ApiServer {
    /// A model with the kinds of the operator, and without objects.
    ///
    /// # Errors
    /// The CRDs can't be read.
    pub fn new(now: Now) -> anyhow::Result<Self> {
        let state = State::new(kinds::all()?, now)?;
        Ok(Self { state: Arc::new(Mutex::new(state)), exchanges: Arc::default() })
    }

    /// A client of the model.
    pub fn client(&self) -> Client {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Answers one request.
    async fn answer(&self, request: Request<Body>) -> Response<ResponseBody> {
        let (head, body) = request.into_parts();
        // A body that breaks off is one that was never sent.
        let body = body.collect().await.map_or_else(|_| Bytes::new(), Collected::to_bytes);
        let mut state = lock(&self.state);
        let response = request::handle(&mut state, &head, &body).unwrap_or_else(Answer::from).into_response();
        lock(&self.exchanges).push(Exchange {
            at: state.now(),
            request: format!("{} {}", head.method, head.uri.path()),
            status: response.status().as_u16(),
        });
        response
    }

    /// All requests so far, in order.
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.exchanges).clone()
    }

    /// Deletes the objects whose owners are gone, and what is left of namespaces that are being deleted. A controller of Kubernetes does
    /// so soon after a deletion. Returns how many objects were deleted or marked.
    pub fn collect_garbage(&self) -> usize {
        lock(&self.state).collect_garbage()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
