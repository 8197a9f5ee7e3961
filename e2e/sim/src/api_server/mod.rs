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
    sync::{Arc, Mutex, PoisonError},
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

/// A model of the API server. Clones share their objects.
#[derive(Clone)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
}

impl ApiServer {
    /// A model with the kinds of the operator, and without objects.
    ///
    /// # Errors
    /// The CRDs can't be read.
    pub fn new(now: Now) -> anyhow::Result<Self> {
        Ok(Self { state: Arc::new(Mutex::new(State::new(kinds::all()?, now))) })
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
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = request::handle(&mut state, &head, &body).unwrap_or_else(Answer::from);
        answer.into_response()
    }

    /// Deletes the objects whose owners are gone, and what is left of namespaces that are being deleted. A controller of Kubernetes does
    /// so soon after a deletion. Returns how many objects were deleted or marked.
    pub fn collect_garbage(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).collect_garbage()
    }
}
