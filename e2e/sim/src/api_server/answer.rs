//! Answers to requests, and errors as the API server words them (`Status`).
//!
//! Next: `request.rs`.

use std::convert::Infallible;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};

use super::kinds::Kind;

/// The body of a response.
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// What the server answers.
pub(super) enum Answer {
    /// An object.
    Object(StatusCode, Value),
    /// The path leads nowhere.
    UnknownPath,
    /// Lines of a watch.
    Watch(Box<dyn Stream<Item = Bytes> + Send + Unpin>),
}

impl Answer {
    pub(super) fn ok(object: Value) -> Self {
        Self::Object(StatusCode::OK, object)
    }

    pub(super) fn into_response(self) -> Response<ResponseBody> {
        let (code, content_type, body) = match self {
            Self::Object(code, object) => {
                (code, "application/json", Full::new(Bytes::from(object.to_string())).boxed_unsync())
            }
            Self::UnknownPath => {
                let text = Bytes::from_static(b"404 page not found\n");
                (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", Full::new(text).boxed_unsync())
            }
            Self::Watch(lines) => {
                let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(line)));
                (StatusCode::OK, "application/json", StreamBody::new(frames).boxed_unsync())
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = code;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    code: StatusCode,
    /// Empty if the API server gives none.
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: String) -> Self {
        Self { code, reason, message, details: None }
    }

    fn about(self, kind: &Kind, name: &str) -> Self {
        Self { details: Some(kind.details(name)), ..self }
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.resource());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(kind, name)
    }

    /// The group has no such kind.
    pub(super) fn unknown_kind() -> Self {
        let message = "the server could not find the requested resource".to_owned();
        Self { details: Some(json!({})), ..Self::new(StatusCode::NOT_FOUND, "NotFound", message) }
    }

    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.resource());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(kind, name)
    }

    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.resource());
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name)
    }

    /// A deletion is about another object or version.
    pub(super) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        Self::conflict(kind, name, why).with_kind_in_details(kind)
    }

    fn with_kind_in_details(self, kind: &Kind) -> Self {
        let details = self.details.map(|mut details| {
            details["kind"] = kind.name.clone().into();
            details
        });
        Self { details, ..self }
    }

    /// Another manager owns fields that are applied with other values.
    pub(super) fn apply_conflict(managers: &[String], count: usize) -> Self {
        let (conflicts, managers) = (if count == 1 { "conflict" } else { "conflicts" }, managers.join(", "));
        let message = format!("Apply failed with {count} {conflicts}: conflicts with {managers}");
        let failure = Self::new(StatusCode::CONFLICT, "Conflict", message);
        Self { details: Some(json!({})), ..failure }
    }

    pub(super) fn invalid(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{}.{} {name:?} is invalid: {why}", kind.name, kind.group);
        let failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        failure.about(kind, name).with_kind_in_details(kind)
    }

    /// An update does not say which version it replaces.
    pub(super) fn unversioned(kind: &Kind, name: &str) -> Self {
        let message = format!(
            "{} {name:?} is invalid: metadata.resourceVersion: must be specified for an update",
            kind.resource()
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).about(kind, name)
    }

    /// A JSON patch does not fit the object.
    pub(super) fn unprocessable(message: String) -> Self {
        let failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        Self { details: Some(json!({})), ..failure }
    }

    /// What is applied does not have the types of its kind.
    pub(super) fn mistyped(message: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// An apply does not say who applies.
    pub(super) fn unmanaged() -> Self {
        let message = "fieldManager: Required value: is required for apply patch".to_owned();
        let failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        Self { details: Some(json!({ "group": "meta.k8s.io", "kind": "PatchOptions" })), ..failure }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message.into())
    }

    pub(super) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", kind.resource());
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(kind, name)
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    pub(super) fn unsupported_media_type() -> Self {
        let message = "the body of the request was in an unknown format".to_owned();
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    /// A version is too old for a watch or for the next page of a list.
    pub(super) fn expired() -> Self {
        let message = "too old resource version".to_owned();
        Self::new(StatusCode::GONE, "Expired", message)
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        let Failure { code, reason, message, details } = failure;
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "code": code.as_u16(),
        });
        if !reason.is_empty() {
            status["reason"] = reason.into();
        }
        if let Some(details) = details {
            status["details"] = details;
        }
        Self::Object(code, status)
    }
}
