//! Errors of requests to ACME servers, and their classes: one table, [`AcmeError::class`]. Must not choose delays,
//! which `decision/backoff.rs` does. Next: `response.rs`.

use std::{fmt::Write, time::Duration};

use crds::condition::one_line;
use hyper::StatusCode;
use instant_acme::{Identifier, Problem};

/// How to react to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No request can succeed until the URL, the key, or the server changes.
    Fatal,
    /// The server asks to wait. The same request can succeed afterwards.
    RateLimited {
        /// How long to wait, from the `Retry-After` header (RFC 9110 section 10.2.3). `None` if the server doesn't say.
        retry_after: Option<Duration>,
    },
    /// The server processed the request and rejected it.
    Refused,
    /// The request may succeed soon: retry with backoff.
    Transient,
}

/// Why a request to an ACME server failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AcmeError {
    /// The URL leads to an address that the operator never connects to.
    #[error(
        "failed to connect to {url}: {address} is or resolves to a loopback, link-local, or metadata address, which is not allowed"
    )]
    Address {
        /// The requested URL.
        url: String,
        /// The forbidden address, or the host name that resolves to it.
        address: String,
    },
    /// `spec.acme.caBundle` can't be used.
    #[error(
        "failed to read spec.acme.caBundle: it contains no usable PEM certificate, or more than 64 KiB. Fix it, or remove it to trust the system's CAs"
    )]
    CaBundle,
    /// The key can't sign.
    #[error("failed to sign a request with the account key")]
    Key(#[from] crate::pki::KeyError),
    /// The response is neither a success nor an ACME problem, or the URL can't be requested.
    #[error("failed to get a valid ACME response from {url}: {detail}")]
    Protocol {
        /// The requested URL.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
        /// What is wrong with the response.
        detail: String,
    },
    /// The server reported a problem document, RFC 7807.
    #[error("{}", describe(problem, *status))]
    Problem {
        /// The document, unchanged.
        problem: Problem,
        /// The HTTP status.
        status: StatusCode,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// There was no response.
    #[error("failed to reach {url}: {detail}. {}", advice(detail))]
    Unreachable {
        /// The requested URL.
        url: String,
        /// The cause, with its own causes.
        detail: String,
        /// How far the request got.
        phase: Phase,
    },
    /// The server does not offer a feature.
    #[error("failed to use the ACME server: it does not offer {0}")]
    Unsupported(String),
}

/// How far a request without a response got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No connection was made: the server can't have received the request.
    Connecting,
    /// The connection was lost: the server may have received the request.
    Lost,
    /// The deadline passed: the server may have received the request.
    TimedOut,
}

/// What to do about a server that can't be reached.
fn advice(detail: &str) -> &'static str {
    if detail.contains("certificate") {
        "If a private CA has issued the server's certificate, set spec.acme.caBundle to that CA's certificate"
    } else {
        "Check spec.acme.server, and that DNS, proxies, and NetworkPolicies let the operator reach it"
    }
}

/// The prefix of ACME error types, RFC 8555 section 6.7.
const PREFIX: &str = "urn:ietf:params:acme:error:";

impl AcmeError {
    /// The error type without its prefix, such as `rateLimited`.
    pub fn problem_type(&self) -> Option<&str> {
        match self {
            Self::Problem { problem, .. } => problem.r#type.as_deref()?.strip_prefix(PREFIX),
            _ => None,
        }
    }

    /// The problem document that the server sent.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Whether the request may be resent immediately: only if the server can't have received it, or if it only reads
    /// and the deadline has not passed.
    pub(super) fn may_resend(&self, reads_only: bool) -> bool {
        match self {
            Self::Unreachable { phase: Phase::Connecting, .. } => true,
            Self::Unreachable { phase: Phase::Lost, .. } => reads_only,
            _ => false,
        }
    }

    /// Whether the order may be accepted without `replaces`. RFC 9773 section 5 defines `alreadyReplaced`, but servers
    /// that don't find the replaced certificate respond with many other types, even `serverInternal`.
    pub fn may_be_caused_by_replaces(&self) -> bool {
        let processed = self.problem_type().is_some_and(|kind| kind != "badNonce");
        processed && matches!(self.class(), Class::Refused | Class::Transient)
            || matches!(self, Self::Unsupported(_))
    }

    /// Classifies the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Address { .. } | Self::CaBundle | Self::Key(_) | Self::Unsupported(_) => Class::Fatal,
            Self::Unreachable { .. } => Class::Transient,
            Self::Protocol { status, retry_after, .. } => match (*status, *retry_after) {
                (StatusCode::TOO_MANY_REQUESTS, retry_after) => Class::RateLimited { retry_after },
                (status, Some(_)) if status.is_server_error() => {
                    Class::RateLimited { retry_after: *retry_after }
                }
                (status, None) if status.is_server_error() => Class::Transient,
                // Truncated, which may pass, or not ACME at all, which fetch_directory() detects.
                (status, _) if status.is_success() => Class::Transient,
                _ => Class::Fatal,
            },
            Self::Problem { status, retry_after, .. } => match (self.problem_type(), *status) {
                (Some("rateLimited"), _) | (_, StatusCode::TOO_MANY_REQUESTS) => {
                    Class::RateLimited { retry_after: *retry_after }
                }
                (Some("badNonce"), _) => Class::Transient,
                // Rejections, even though some servers send them with status 500.
                (
                    Some(
                        "accountDoesNotExist"
                        | "alreadyReplaced"
                        | "badCSR"
                        | "badPublicKey"
                        | "caa"
                        | "connection"
                        | "dns"
                        | "externalAccountRequired"
                        | "incorrectResponse"
                        | "invalidContact"
                        | "invalidProfile"
                        | "malformed"
                        | "orderNotReady"
                        | "rejectedIdentifier"
                        | "tls"
                        | "unauthorized"
                        | "unsupportedContact"
                        | "unsupportedIdentifier"
                        | "userActionRequired",
                    ),
                    _,
                ) => Class::Refused,
                (_, status) if status.is_server_error() => match retry_after {
                    Some(_) => Class::RateLimited { retry_after: *retry_after },
                    None => Class::Transient,
                },
                _ => Class::Refused,
            },
        }
    }
}

/// The longest text of a server that is shown, in bytes: a status must not grow with what a server sends.
const LONGEST_TEXT: usize = 1000;

/// Formats a problem as cert-manager does, with the HTTP status and the whole type, because programs match these. Then, in the server's
/// own words, its detail and that of each subproblem with its identifier. Leaves out the rest of a long one.
fn describe(problem: &Problem, status: StatusCode) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("about:blank");
    let detail = problem.detail.as_deref().unwrap_or("the server gave no reason");
    let mut text = format!("{} {kind}: {}", status.as_u16(), one_line(detail, LONGEST_TEXT));
    for part in &problem.subproblems {
        if text.len() > LONGEST_TEXT {
            break;
        }
        let name = match &part.identifier {
            Some(Identifier::Dns(name)) => name.clone(),
            Some(Identifier::Ip(address)) => address.to_string(),
            _ => "unknown identifier".to_owned(),
        };
        _ = write!(text, "; {name}: {}", part.detail.as_deref().unwrap_or("no reason given"));
        if let Some(kind) = &part.r#type {
            _ = write!(text, " ({})", kind.strip_prefix(PREFIX).unwrap_or(kind));
        }
    }
    one_line(&text, 2 * LONGEST_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16, retry_after: Option<u64>) -> AcmeError {
        let document =
            serde_json::json!({ "type": format!("{PREFIX}{kind}"), "detail": "text", "status": status });
        AcmeError::Problem {
            problem: serde_json::from_value(document).expect("a problem document"),
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn page(status: u16, retry_after: Option<u64>) -> AcmeError {
        AcmeError::Protocol {
            url: "https://acme.example.test/".into(),
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: retry_after.map(Duration::from_secs),
            detail: "it is HTML".into(),
        }
    }

    const fn limited(seconds: Option<u64>) -> Class {
        Class::RateLimited {
            retry_after: match seconds {
                Some(seconds) => Some(Duration::from_secs(seconds)),
                None => None,
            },
        }
    }

    #[test]
    fn class_covers_every_error() {
        for (error, class) in [
            (problem("badNonce", 400, None), Class::Transient),
            (problem("rateLimited", 429, Some(3600)), limited(Some(3600))),
            (problem("rateLimited", 403, None), limited(None)),
            (problem("serverInternal", 500, None), Class::Transient),
            (problem("serverInternal", 500, Some(60)), limited(Some(60))),
            (problem("serverInternal", 503, Some(10)), limited(Some(10))),
            (problem("something-new", 429, None), limited(None)),
            (problem("something-new", 500, None), Class::Transient),
            (problem("something-new", 400, None), Class::Refused),
            (problem("unauthorized", 403, None), Class::Refused),
            (problem("unauthorized", 500, None), Class::Refused),
            (problem("rejectedIdentifier", 400, None), Class::Refused),
            (problem("accountDoesNotExist", 400, None), Class::Refused),
            (problem("userActionRequired", 403, None), Class::Refused),
            (problem("externalAccountRequired", 403, None), Class::Refused),
            (problem("orderNotReady", 403, None), Class::Refused),
            (problem("alreadyReplaced", 409, None), Class::Refused),
            (problem("badCSR", 400, None), Class::Refused),
            (problem("caa", 403, None), Class::Refused),
            (problem("invalidProfile", 400, None), Class::Refused),
            (page(503, None), Class::Transient),
            (page(503, Some(30)), limited(Some(30))),
            (page(502, None), Class::Transient),
            (page(429, None), limited(None)),
            (page(404, None), Class::Fatal),
            (page(301, None), Class::Fatal),
            (page(200, None), Class::Transient),
            (
                AcmeError::Unreachable { url: String::new(), detail: String::new(), phase: Phase::Lost },
                Class::Transient,
            ),
            (AcmeError::Address { url: String::new(), address: String::new() }, Class::Fatal),
            (AcmeError::Unsupported("x".into()), Class::Fatal),
        ] {
            assert_eq!(error.class(), class, "{error:?}");
        }
    }

    #[test]
    fn replaces_is_dropped_if_that_may_help() {
        for (error, may_help) in [
            (problem("alreadyReplaced", 409, None), true),
            (problem("malformed", 400, None), true),
            (problem("unauthorized", 403, None), true),
            (problem("serverInternal", 500, None), true),
            (problem("serverInternal", 503, Some(10)), false),
            (problem("rateLimited", 429, None), false),
            (problem("badNonce", 400, None), false),
            (page(502, None), false),
        ] {
            assert_eq!(error.may_be_caused_by_replaces(), may_help, "{error:?}");
        }
    }

    #[test]
    fn problem_text_includes_every_subproblem() {
        let document = serde_json::json!({
            "type": "urn:ietf:params:acme:error:rejectedIdentifier",
            "detail": "some identifiers are rejected",
            "subproblems": [
                { "type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it",
                  "identifier": { "type": "dns", "value": "a.example.test" } },
                { "detail": "no", "identifier": { "type": "ip", "value": "192.0.2.1" } },
            ],
        });
        let problem = serde_json::from_value(document).expect("a problem document");
        assert_eq!(
            describe(&problem, StatusCode::BAD_REQUEST),
            "400 urn:ietf:params:acme:error:rejectedIdentifier: some identifiers are rejected; a.example.test: CAA forbids it (caa); 192.0.2.1: no"
        );
    }

    #[test]
    fn long_problems_are_cut() {
        let part = serde_json::json!({
            "detail": "d".repeat(10_000), "identifier": { "type": "dns", "value": "a.example.test" },
        });
        for (detail, parts) in [("d".repeat(1 << 20), 0), ("short".to_owned(), 100)] {
            let problem = serde_json::json!({ "detail": detail, "subproblems": vec![&part; parts] });
            let error = AcmeError::Problem {
                problem: serde_json::from_value(problem).expect("a problem"),
                status: StatusCode::BAD_REQUEST,
                retry_after: None,
            };
            assert!(error.to_string().len() <= 2 * LONGEST_TEXT, "{}", error.to_string().len());
        }
    }
}
