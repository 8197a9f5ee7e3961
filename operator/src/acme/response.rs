//! Responses of ACME servers: checked, and read.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use instant_acme::Problem;

use super::AcmeError;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct AcmeResponse {
    /// What was asked.
    pub url: String,
    /// The HTTP status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
    /// Where what was made is.
    pub location: Option<String>,
    /// How long to wait, if the server said so.
    pub retry_after: Option<Duration>,
    /// Other answers to the same question, RFC 8555 section 7.4.2.
    pub alternates: Vec<String>,
    pub(super) nonce: Option<String>,
    pub(super) content_type: Option<String>,
}

impl AcmeResponse {
    /// The answer if it is good; otherwise what the server says is wrong.
    pub(super) fn into_result(self) -> Result<Self, AcmeError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let problem = serde_json::from_slice::<Problem>(&self.body).ok();
        if let Some(problem) = problem.filter(|it| it.r#type.is_some() || it.detail.is_some()) {
            return Err(AcmeError::Problem { problem, status: self.status, retry_after: self.retry_after });
        }
        let detail = match (&self.location, &self.content_type) {
            (Some(location), _) if self.status.is_redirection() => {
                format!("it redirects to {location}: ask that")
            }
            (_, Some(kind)) => format!("it answers {} with {kind}, which is no ACME", self.status),
            (_, None) => format!("it answers {} and says no more", self.status),
        };
        Err(AcmeError::Protocol { url: self.url, status: self.status, retry_after: self.retry_after, detail })
    }

    /// Reads the body as JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, AcmeError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| self.protocol_error(format!("its answer is not what RFC 8555 has: {error}")))
    }

    /// Where what was asked for is, such as `the order`.
    pub(super) fn required_location(&self, what: &str) -> Result<String, AcmeError> {
        self.location
            .clone()
            .ok_or_else(|| self.protocol_error(format!("its answer does not say where {what} is")))
    }

    /// The error of an answer that is good but for what it lacks.
    pub(super) fn protocol_error(&self, detail: impl Into<String>) -> AcmeError {
        AcmeError::Protocol {
            url: self.url.clone(),
            status: self.status,
            retry_after: self.retry_after,
            detail: detail.into(),
        }
    }
}
