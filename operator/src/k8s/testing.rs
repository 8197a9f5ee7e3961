//! A client of an API server that a test plays. Must not know what is requested.

use http_body_util::BodyExt;
use hyper::{Method, Request, Response, StatusCode};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tower::service_fn;

/// A client whose requests a function answers: it gets the method, the path, and the body.
pub(crate) fn client<F>(answer: impl Fn(Method, String, Value) -> F + Clone + Send + 'static) -> Client
where
    F: Future<Output = Response<Body>> + Send,
{
    let service = service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            Ok::<_, kube::Error>(answer(head.method, head.uri.path().to_owned(), body).await)
        }
    });
    Client::new(service, "default")
}

/// A response with an object.
pub(crate) fn json(status: StatusCode, object: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(object.to_string().into_bytes()));
    *response.status_mut() = status;
    response
}

/// A response that says only that a request failed.
pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let object = json!({ "kind": "Status", "status": "Failure", "code": status.as_u16(), "message": "", "reason": "" });
    json(status, &object)
}
