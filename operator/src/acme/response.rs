//! Responses of ACME servers: a success, an ACME problem, or neither. Must not send requests. Next: `error.rs`.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use instant_acme::Problem;

use super::AcmeError;

/// The response of a server to one request.
#[derive(Clone, Debug)]
pub struct AcmeResponse {
    /// The URL of the request.
    pub url: String,
    /// The HTTP status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
    /// The `Location` header: the URL of the created resource.
    pub location: Option<String>,
    /// How long the server asks to wait, from the `Retry-After` header.
    pub retry_after: Option<Duration>,
    /// URLs of alternate chains, RFC 8555 section 7.4.2.
    pub alternates: Vec<String>,
    pub(super) nonce: Option<String>,
    pub(super) content_type: Option<String>,
}

impl AcmeResponse {
    /// Returns the response if its status is a success, and the error that it reports otherwise.
    pub(super) fn into_result(self) -> Result<Self, AcmeError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let problem = serde_json::from_slice::<Problem>(&self.body).ok();
        if let Some(problem) = problem.filter(|problem| problem.r#type.is_some() || problem.detail.is_some())
        {
            return Err(AcmeError::Problem { problem, status: self.status, retry_after: self.retry_after });
        }
        let detail = match (&self.location, &self.content_type) {
            (Some(location), _) if self.status.is_redirection() => {
                format!("it redirects to {location}, and redirects are not followed")
            }
            (_, Some(content_type)) => {
                format!("status {} with {content_type} instead of an ACME problem", self.status)
            }
            (_, None) => format!("status {} without an ACME problem", self.status),
        };
        Err(AcmeError::Protocol { url: self.url, status: self.status, retry_after: self.retry_after, detail })
    }

    /// Parses the body as JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, AcmeError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| self.protocol_error(format!("the body does not match RFC 8555: {error}")))
    }

    /// Parses the body as an order or an authorization. JSON of another shape is permanent: it comes again with each retry,
    /// and a retry of newOrder would place another order.
    pub(super) fn resource<T: serde::de::DeserializeOwned>(&self) -> Result<T, AcmeError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let detail = format!("the body does not match RFC 8555: {error}");
            if error.is_data() { self.permanent_error(detail) } else { self.protocol_error(detail) }
        })
    }

    /// Returns the URL of the created `resource`, such as `order`.
    pub(super) fn required_location(&self, resource: &str) -> Result<String, AcmeError> {
        self.location.clone().ok_or_else(|| {
            self.permanent_error(format!("the Location header with the URL of the {resource} is missing"))
        })
    }

    /// The error for a successful response that breaks the protocol.
    pub(super) fn protocol_error(&self, detail: impl Into<String>) -> AcmeError {
        AcmeError::Protocol {
            url: self.url.clone(),
            status: self.status,
            retry_after: self.retry_after,
            detail: detail.into(),
        }
    }

    /// As [`Self::protocol_error`], for what a retry does not change.
    pub(super) fn permanent_error(&self, detail: impl std::fmt::Display) -> AcmeError {
        AcmeError::Protocol {
            url: self.url.clone(),
            status: StatusCode::BAD_REQUEST,
            retry_after: None,
            detail: format!("{detail}. Have the CA correct this, or use another CA"),
        }
    }
}
